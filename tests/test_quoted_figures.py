"""What README and the prose of docs/results and docs/detectors.md quote is what the data files have."""

import csv
import math
import re
import statistics
from collections import Counter

import pytest
from quoting import ROOT, assert_quotes, means, paper, read, speed_against_peer, spread, svge, svge_mean
from scipy.stats import kendalltau

import gemnet
from gemnet.bench import benchmark, comparison
from gemnet.bench.runtimes import pages as runtimes
from gemnet.bench.runtimes.networks import NETWORKS
from gemnet.deploy.runtimes.table import RUNTIMES
from gemnet.detection import zoo
from search.experiments.paper import overview, published
from search.experiments.paper.output import FOLDER, PAGE
from search.experiments.paper.rows import COUNTS, GEMNET, GUIDED
from search.experiments.svge import pages
from search.experiments.svge.tasks import TASKS
from search.experiments.trial import report as trial_report

INDEX, SEARCHES = overview.PAGE, "docs/results/search/README.md"
TENTH_AND_ALL = (10, 100)
BIASES = (200, 500, 1000, 2000)


def test_the_index_quotes_how_fast_gemnet_is_in_each_runtime():
    rows = read(runtimes.DATA)["rows"]
    ratios = {entry.title: runtimes.times_as_fast(rows, name, NETWORKS[0], 2) for name, entry in RUNTIMES.items()}
    reached = sum(ratio >= 1.25 for ratio in ratios.values())
    told = ", ".join(f"{title} {ratio:.3f}" for title, ratio in ratios.items())
    macs = {row["name"]: row["macs"] for row in read(benchmark.MEASURED)["models"]}
    more = macs["torchvision/mnasnet1_3"] / macs["timm/gemnet_a"]
    assert_quotes(INDEX, f"in {('none', 'one', 'two', 'three', 'four', 'five')[len(ratios) - reached]} of seven runtimes:")
    assert_quotes(INDEX, f"mnasnet1_3 has {more:.2f} times the MACs ([where")
    assert_quotes(INDEX, f"| ≥ 1.25 | {told} | in {reached} of {len(ratios)} | [runtimes](runtimes.md) |")


def test_the_index_names_the_goals_that_are_missed():
    missed = [line.split(" | ")[0] for line in overview.overview(ROOT).splitlines() if overview.MISSED in line]
    assert missed == [
        "| Kendall's tau, NAS-Bench-101, 4236 cells",
        "| Kendall's tau, NAS-Bench-201, 1563 cells",
        "| Fig. 5, bias in % at 200 samples",
        "| Fig. 5, bias in % at 2000 samples",
    ]
    assert_quotes(
        INDEX,
        "Eight goals are missed: the two of predictors on the largest sample of either benchmark, both of Fig. 5, and",
        f"NAS-Bench-101, goal {published.NASBENCH101['goal: above'][4236]:.2f}:",
        f"NAS-Bench-201, goal {published.NASBENCH201['goal: above'][1563]:.2f}:",
        f"Fig. 5, goal {published.FIGURE5['goal with the embedding'][2000]:.2f} %:",
    )


def test_the_index_quotes_other_goals():
    settings = ("batch 16, fp32", "batch 1, fp32", "batch 16, bf16")
    excess = max(value for row in read(zoo.MEASURED) if "gemnet" in row["name"] for value in zoo.excess(row))
    assert excess <= 1
    measures = ("checked share", "checked validity")
    assert {svge_mean(space, measure) for space in TASKS for measure in measures} == {"100.00"}
    assert_quotes(
        INDEX,
        f"GEMNet's at most {excess:.1f} % above",
        f"| {', '.join(map(speed_against_peer, settings))} | yes |",
        f"| < 0.248 | {svge('enas', 'gaussian process RMSE')} | yes |",
        f"| > 0.968 | {svge('enas', 'gaussian process Pearson')} | yes |",
        "| > 99.9 % | 100.00 % on each | yes |",
    )


def test_the_index_quotes_what_did_not_help():
    plain = means("table3", "autoencoder of counts", TENTH_AND_ALL, "kendall")
    guided = means("table3", GUIDED.name, TENTH_AND_ALL, "kendall")
    (landmarks,) = means("table3", "WL landmarks", [10], "kendall")
    (matrix,) = means("table3", "adjacency", [10], "kendall")
    biases = means("fig5", COUNTS.name, BIASES, "bias, %", 2)
    assert_quotes(
        INDEX,
        f"a tau of {plain[0]} at 10 % of the training cells and {plain[1]} at 100 %.",
        f"it has {guided[0]} and {guided[1]}.",
        f"R² of {means('fig6', 'WL landmarks, d = 50', [10], 'R^2')[0]} at 10 nodes",
        f"behind the flattened matrix: {landmarks} against {matrix} at 10 %.",
        f"the ensemble alone {', '.join(biases[:3])} and {biases[3]} %",
    )


def test_the_index_quotes_what_more_labels_bring():
    learned = dict(zip((10000, 15625), means("more_labels", GEMNET.name, (10000, 15625), "kendall")))
    more, same = means("more_labels", COUNTS.name, (10000, 2000), "bias, %", 2)
    themselves = "the validation accuracies themselves"
    (of_101,), (of_201,) = (means(f"nasbench{n}", themselves, [s], "kendall") for n, s in ((101, 4236), (201, 1563)))
    assert_quotes(
        INDEX,
        f"10,000 labels instead of 4,236 give a tau of {learned[10000]}.",
        f"all 15,625 labels instead of 1,563 give {learned[15625]},",
        f"10,000 samples have a bias of {more} %, 2,000 of {same} %.",
        f"The table of Fig. 5 has {means('fig5', COUNTS.name, [2000], 'bias, %', 2)[0]} % for 2,000",
        f"test accuracies with a tau of {of_201}, and at 1,563 cells the predictions do so as well: "
        f"{means('nasbench201', GEMNET.name, [1563], 'kendall')[0]}.",
        f"are ranked by it with {of_101}.",
        f"NN-Former's published {published.NASBENCH101['NN-Former (CVPR 2025), published'][4236]}",
    )


def test_the_index_quotes_shares_of_what_more_labels_reach():
    def of(row, settings, figure):
        few, more = (paper("more_labels", row.name, setting, figure)["mean"] for setting in settings)
        return few / more

    shares = [100 * of(GEMNET, settings, "kendall") for settings in ((4236, 10000), (1563, 15625))]
    bias = of(COUNTS, (2000, 10000), "bias, %")
    assert min(shares) >= 99
    assert bias <= 1.1
    assert_quotes(
        INDEX,
        f"| ≥ 99 % | {shares[0]:.1f} %, {shares[1]:.1f} % | yes |",
        f"| ≤ 1.1 | {bias:.2f} | yes |",
        f"{shares[0]:.1f} % of it on NAS-Bench-101 and {shares[1]:.1f} % on NAS-Bench-201;",
        f"the bias at 2,000 samples is {bias:.2f} times that at 10,000",
    )


def test_the_page_of_the_paper_quotes_table_3():
    at = {
        row: means("table3", row, TENTH_AND_ALL, "kendall")
        for row in (
            GUIDED.name, "adjacency", "MLP autoencoder", "NASGEM on counts, no head", "autoencoder of counts",
            "GEMNet: counts and cells", COUNTS.name,
        )
    }  # fmt: skip
    ten, all_of_them = zip(*(at[row] for row in (GUIDED.name, "adjacency", "MLP autoencoder")))
    paired = [p for p in read(f"{FOLDER}/table3.json")["paired"] if p["row"] == GUIDED.name]
    ahead = {p["larger"] for p in paired if p["against"] in ("adjacency", "MLP autoencoder")}
    assert ahead == {20}
    assert_quotes(
        PAGE,
        f"under each of 20 seeds and at every size: {ten[0]}, {ten[1]} and {ten[2]} at 10 % of the training cells, "
        f"{all_of_them[0]}, {all_of_them[1]} and {all_of_them[2]} at 100 %.",
        "tau is {} and {}.".format(*at["NASGEM on counts, no head"]),
        "the same autoencoder has {} and {}.".format(*at["autoencoder of counts"]),
        "that predictor has {} and {}.".format(*at["GEMNet: counts and cells"]),
        "The ensemble on counts has {} and {}.".format(*at[COUNTS.name]),
    )


def test_the_page_of_the_paper_quotes_figure_5():
    paired = [p for p in read(f"{FOLDER}/fig5.json")["paired"] if (p["row"], p["against"]) == (GUIDED.name, "adjacency")]
    gains = sorted(-p["mean"] for p in paired)
    assert len(gains) == len(BIASES)
    assert_quotes(PAGE, f"than the flattened matrix does, by {gains[0]:.1f} to {gains[-1]:.1f} %.")


@pytest.mark.parametrize("entry", read(f"{FOLDER}/more_labels.json")["rows"], ids=lambda entry: str(entry["setting"]))
def test_the_table_of_more_labels_is_what_its_data_file_has(entry):
    figure, digits = ("kendall", 4) if "kendall" in entry["figures"] else ("bias, %", 2)
    mean, deviation = entry["figures"][figure]["mean"], entry["figures"][figure]["deviation"]
    shown = f"**{mean:.{digits}f} ± {deviation:.{digits}f}**"
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if f": {entry['row']} | {entry['setting']:,} | {shown} |" in line]
    assert line.endswith(f" | {entry['count']} |")


def test_the_page_of_the_paper_quotes_the_encoder():
    names = ("R^2", "Spearman", "cosine of isomorphic cells")
    encoders = {
        row: [f"{paper('encoder', row, 30, name)['mean']:.3f}" for name in names]
        for row in ("NASGEM", "NASGEM, canonical order", GUIDED.name)
    }
    plain, ordered, guided = encoders.values()
    seconds = [f"{paper('encoder', row, 30, 'training, s')['mean']:.0f}" for row in encoders]
    assert_quotes(
        PAGE,
        f"have a mean cosine of {plain[2]},",
        f"it is {ordered[2]}, at an R² of {ordered[0]} instead of {plain[0]} on held-out pairs.",
        f"10,000 iterations take {seconds[1]} s instead of {seconds[0]} s",
        f"has {guided[2]} as well, an R² of {guided[0]} and a Spearman's correlation of {guided[1]} instead of {plain[1]}, "
        f"in {seconds[2]} s.",
        f"tell {100 * paper('encoder', GUIDED.name, 30, 'counts reconstructed')['mean']:.1f} % of the counts' variance.",
    )


def test_the_page_of_the_paper_quotes_figure_6():
    sizes = (10, 30, 60, 100, 150, 250)
    cosines = means("fig6", "d = 50", sizes, "R^2")
    guided = means("fig6", "NASGEM on counts, d = 50", sizes, "R^2")
    bounds = means("fig6", "d = 50", sizes, "highest R^2")
    landmarks = means("fig6", "WL landmarks, d = 50", sizes, "R^2")
    assert all(float(value) < 0 for value in cosines[3:])
    assert set(landmarks[2:]) == {"1.000"}
    assert min(map(float, means("fig6", "WL landmarks, d = 50", sizes, "Spearman"))) >= 0.999
    assert_quotes(
        PAGE,
        f"has an R² of {cosines[0]} at 10 nodes, {cosines[1]} at 30 and {cosines[2]} at 60.",
        f"NASGEM on counts has {guided[0]}, {guided[1]} and {guided[2]}, then {guided[3]} at 100 nodes. "
        f"At 250 it has {guided[5]},",
        f"with a Spearman's correlation of {means('fig6', 'NASGEM on counts, d = 50', [250], 'Spearman')[0]}.",
        f"an R² of {bounds[0]} at 10 nodes, {bounds[1]} at 30, {bounds[2]} at 60 and {min(bounds[3:])} to "
        f"{max(bounds[3:])} from 100 on.",
        f"After 10,000 iterations NASGEM's encoder has {means('encoder', 'NASGEM', [30], 'R^2')[0]} at 30 nodes "
        f"(the table before), where the bound is {means('encoder', 'NASGEM', [30], 'highest R^2')[0]}.",
        f"have an R² of {landmarks[0]} at 10 nodes, {landmarks[1]} at 30 and 1.000 from 60 on",
    )


def test_the_page_of_the_paper_quotes_the_searches():
    with (ROOT / FOLDER / "search.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    taken = {
        row: Counter(float(line["test accuracy, %"]) for line in lines if line["row"] == row)
        for row in (GEMNET.name, COUNTS.name)
    }
    best, third = sorted(taken[GEMNET.name], reverse=True)
    assert all(set(counts) == {best, third} for counts in taken.values())
    asked = {float(line["best asked for, %"]) for line in lines if line["row"] in taken}
    assert asked == {best}
    error = paper("search", GEMNET.name, 150, "test accuracy, %")["deviation"] / math.sqrt(20)
    assert_quotes(
        PAGE,
        f"standard error {error:.2f})",
        f"{best - third:.2f} % behind it",
        f"With graph networks {taken[GEMNET.name][best]} of 20 searches take the best cell, with the ensemble "
        f"{taken[COUNTS.name][best]}, and all others the third.",
    )


def test_the_page_of_the_paper_quotes_the_predictors():
    sizes = published.SIZES_101
    guided = means("nasbench101", GUIDED.name, sizes, "kendall")
    matrix = means("nasbench101", "adjacency", sizes, "kendall")
    (ours,) = means("nasbench101", GEMNET.name, [4236], "kendall")
    peer, goal = (published.NASBENCH101[label][4236] for label in ("NN-Former (CVPR 2025), published", "goal: above"))
    assert_quotes(
        PAGE,
        f"At 4,236 cells NN-Former's published {peer:.3f} and the goal, {goal:.3f}, are ahead of {ours};",
        f"NASGEM's predictor has {', '.join(guided[:3])} and {guided[3]} on guided counts, at 100 to 4,236 cells, and "
        f"{matrix[0]} to {matrix[3]} on the flattened matrix.",
        f"themselves do, {means('nasbench201', GEMNET.name, [1563], 'kendall')[0]}.",
    )


def test_the_page_of_svge_quotes_its_measures():
    values = read(f"{pages.FOLDER}/enas.json")["values"]["measures"]
    (pace,) = [peer for peer in values["published"] if peer["name"] == "PACE"]
    kernel = "SVGe with WL kernel"
    cosine = [svge_mean("enas", "kernel Spearman", model) for model in (kernel, "SVGe")]
    unique = [svge_mean("nasbench201", "prior uniqueness", model) for model in (kernel, "SVGe")]
    assert_quotes(
        pages.PAGE,
        f"has a RMSE of {svge_mean('enas', 'gaussian process RMSE')}, PACE's {pace['measures']['gaussian process RMSE']}.",
        f"with a Spearman's correlation of {cosine[0]} instead of {cosine[1]}.",
        f"the process's RMSE is {svge_mean('enas', 'gaussian process RMSE', kernel)}, ahead of PACE's too, and "
        f"{svge_mean('enas', 'reconstruction share', kernel)} % of the graphs come back.",
        f"differ ({unique[0]} % instead of {unique[1]} %)",
        f"{float(svge_mean('nasbench101', 'informed share')):.0f} % are reconstructed after it",
    )


def test_the_page_of_svge_quotes_its_optimisation():
    found = {space: read(f"{pages.FOLDER}/{space}.json")["values"]["optimisation"] for space in ("nasbench101", "nasbench201")}
    best = {space: 100 * data["best in the table"] for space, data in found.items()}
    mean = {
        space: {name: 100 * statistics.mean(method["best accuracy"]) for name, method in data["methods"].items()}
        for space, data in found.items()
    }
    on_201, on_101 = mean["nasbench201"], mean["nasbench101"]
    known = "expected improvement on known cells"
    runs = [
        sum(
            value == found["nasbench101"]["best in the table"]
            for value in found["nasbench101"]["methods"][name]["best accuracy"]
        )
        for name in ("bootstrap", known, "expected improvement")
    ]
    assert runs[2] == 0
    on_test = {
        name: 100 * statistics.mean(method["test accuracy of the best"])
        for name, method in found["nasbench101"]["methods"].items()
    }
    assert max(on_test, key=on_test.__getitem__) == "random"
    assert_quotes(
        pages.PAGE,
        f"has found {on_201['bootstrap']:.2f} % of at most {best['nasbench201']:.2f} % (10 runs).",
        f"with decoding has {on_201['expected improvement']:.2f} %, random draws {on_201['random']:.2f} %.",
        f"it is {on_101['bootstrap']:.2f} % of at most {best['nasbench101']:.2f} %, then "
        f"{on_101['expected improvement']:.2f} % and {on_101['random']:.2f} %.",
        f"the random draws' best is the best by a hair, {on_test['random']:.2f} %.",
        f"found by bootstrap in {runs[0]} runs, by expected improvement on known cells in {runs[1]}, and with decoding in none",
    )


def test_the_page_of_svge_quotes_its_larger_cells():
    told = {}
    for space in ("enas", "nasbench101"):
        groups: dict[str, list[float]] = {}
        for cell in read(f"{pages.FOLDER}/{space}.json")["values"]["extrapolation"]["cells"]:
            groups.setdefault(cell["group"].split(", ")[1], []).append(100 * cell["mean accuracy"])
        told[space] = {group: spread(accuracies, 1) for group, accuracies in groups.items()}
    of_8, of_12 = told["nasbench101"], told["enas"]
    order = ("highest predicted", "random", "most accurate known")
    assert_quotes(
        pages.PAGE,
        f"have {of_8[order[0]]} % after a short training, the best known ones of 7 nodes {of_8[order[2]]} % and other "
        f"cells of 8 nodes {of_8[order[1]]} %.",
        f"they have {of_8[order[0]]}, {of_8[order[1]]} and {of_8[order[2]]} % (mean and deviation of the five).",
        f"They have {of_12[order[0]]}, {of_12[order[1]]} and {of_12[order[2]]} % (mean and deviation of the five).",
    )


def search_record(name):
    """Settings and rounds of the search of the shipped cells, then an object an evaluation."""
    return read(f"docs/results/search/{name}.jsonl")


def cell_of(row):
    return gemnet.Cell(tuple(row["nodes"]), row["edges"]).digest()


def test_the_record_of_the_shipped_cells_holds_them():
    settings, *evaluations = search_record("nasgem_cifar10")
    for name, letter in (("gemnet_a", "A"), ("gemnet_b", "B")):
        cell = gemnet.Cell.shipped(name)
        (row,) = [row for row in evaluations if cell_of(row) == cell.digest()]
        assert (row["accuracy"], row["macs"]) == (cell.provenance["accuracy"], cell.provenance["macs"])
        assert settings["settings"]["data"] == cell.provenance["data"]
        page = (ROOT / SEARCHES).read_text(encoding="utf-8")
        (line,) = [line for line in page.splitlines() if line.startswith(f"| GEMNet-{letter}'s cell, ")]
        assert f"| {row['accuracy']:.3f} | {row['cost']:.2f} | first run, round {row['round']} |" in line


def test_the_page_of_searches_quotes_their_records():
    (first, *of_first), (second, *of_second) = search_record("nasgem_cifar10"), search_record("nasgem_cifar10_continued")
    new = [row for row in of_second if row["round"] > 0]
    start = [row["accuracy"] for row in of_first if row["round"] == 0]
    hours = sum(row["seconds"] for row in of_first + new) / 3600
    dear = [sum(turn.get("dear", 0) for turn in record["rounds"]) for record in (first, second)]
    taus = [[turn["kendall_tau"] for turn in record["rounds"] if "kendall_tau" in turn] for record in (first, second)]
    evaluated = [[turn["evaluated"] for turn in record["rounds"] if "evaluated" in turn] for record in (first, second)]
    data = first["settings"]["data"]
    nodes = {len(row["nodes"]) - 1 for row in of_first + of_second}
    assert (min(nodes), max(nodes)) == (1, 7)
    assert max(row["cost"] for row in of_first + of_second) <= first["settings"]["cost"]["max"] == 0.75
    assert min(of_first, key=lambda row: row["cost"])["accuracy"] == gemnet.Cell.shipped("gemnet_b").provenance["accuracy"]
    assert_quotes(
        SEARCHES,
        f"{len(of_first) + len(new)} trainings and {hours:.1f} hours of training together.",
        f"{10 * data['train_per_class']:,} of CIFAR-10's training images are trained on and "
        f"{10 * data['val_per_class']:,} others",
        f"The first run, {len(of_first)} candidates,",
        f"propose {len(new)} more.",
        f"| the random first {len(start)} | {statistics.mean(start):.3f} on average, at most {max(start):.3f} |",
        f"| the {len(new)} of the second run | at most {max(row['accuracy'] for row in new):.3f} |",
        f"{dear[0]} cells of the first run and {dear[1] - dear[0]} of the second cost more than 0.75",
        f"cross-validated on {evaluated[0][0]} to {evaluated[0][-1]} candidates, is {min(taus[0]):.2f} to {max(taus[0]):.2f}.",
        f"on {evaluated[1][0]} to {evaluated[1][-1]} candidates, is {min(taus[1]):.2f} to {max(taus[1]):.2f}.",
    )


def test_the_shipped_cells_are_the_best_two_of_the_ten_that_were_trained_again():
    found = {row["digest"]: row for row in search_record("nasgem_cifar10")[1:] if row["state"] == "done" and not row["stopped"]}
    accuracies = {}
    for row in search_record("nasgem_cifar10_retrained"):
        (digest,) = [digest for digest in found if digest.startswith(row["name"].partition(",")[0])]
        accuracies.setdefault(digest, []).append(row["accuracy"])
    by_score = sorted(found, key=lambda digest: -found[digest]["score"])[:10]
    assert set(accuracies) == set(by_score)
    assert {len(values) for values in accuracies.values()} == {3}
    mean = {digest: statistics.mean(values) for digest, values in accuracies.items()}
    best = sorted(mean, key=lambda digest: 0.1 * math.log10(found[digest]["cost"]) - mean[digest])
    assert best[:2] == by_score[:2] == [gemnet.Cell.shipped(name).digest() for name in ("gemnet_a", "gemnet_b")]
    assert best[8] == by_score[2]
    for name in ("gemnet_a", "gemnet_b"):
        cell = gemnet.Cell.shipped(name)
        assert cell.provenance["retrained"]["accuracies"] == accuracies[cell.digest()]
    tau = kendalltau([found[d]["accuracy"] for d in best], [mean[d] for d in best]).statistic
    minutes = sum(row["seconds"] for row in search_record("nasgem_cifar10_retrained")) / 60
    told = [spread(accuracies[digest], 3) for digest in (*best[:2], best[8])]
    assert_quotes(
        SEARCHES,
        f"twice as long, {round(minutes, -1):.0f} minutes on a core:",
        f"A's cell with a validation accuracy of {told[0]}, B's with {told[1]},",
        f"came out ninth of ten, with {told[2]}: it was lucky.",
        f"(Kendall's tau {tau:.2f})",
    )


def test_the_second_record_takes_over_the_first_and_has_no_better_cell():
    first, second = search_record("nasgem_cifar10"), search_record("nasgem_cifar10_continued")
    for part in ("data", "proxy", "model", "cost", "space"):
        assert first[0]["settings"][part] == second[0]["settings"][part]
    measured = {row["digest"]: (row["accuracy"], row["score"], row["seconds"]) for row in first[1:] if not row["stopped"]}
    assert {r["digest"]: (r["accuracy"], r["score"], r["seconds"]) for r in second[1:] if r["round"] == 0} == measured
    best = max(second[1:], key=lambda row: row["score"])
    assert cell_of(best) == gemnet.Cell.shipped("gemnet_a").digest()
    whole = [r["curve"] for r in second[1:] if not r["stopped"]]
    stopped = [r["curve"] for r in second[1:] if r["stopped"]]
    expected = [c[-1] + statistics.mean([w[-1] - w[len(c) - 1] for w in whole]) for c in stopped]
    assert_quotes(
        SEARCHES,
        f"{len(stopped)} were stopped early; with the mean later gain of complete trainings added, none of these would "
        f"have passed {max(expected):.3f}.",
        f"The first {len(measured)} are those of the first run that were not stopped; the best, at {best['score']:.3f}, "
        "is among them.",
    )


def test_the_page_of_searches_has_the_trials_figures():
    found = read(trial_report.DATA)
    page = (ROOT / SEARCHES).read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^\| .* \| \d\d\.\d\d ± \d\.\d\d \|$", page)
    told = [f"{spread([100 * value for value in n['accuracies']], 2)} |" for n in found["networks"] if n["kind"] != "random"]
    assert sorted(line[-len(text) :] for line, text in zip(lines, told, strict=True)) == sorted(told)
    mean, deviation = trial_report.random_cells(found["networks"])
    ranks = trial_report.correlation(found["networks"])
    assert_quotes(
        SEARCHES,
        f"{100 * mean:.2f} on average, deviation {100 * deviation:.2f}",
        f"Over {ranks['n']} cells the proxy ranks as this training does: Kendall's tau {ranks['kendall']:.2f}, Spearman's rho "
        f"{ranks['spearman']:.2f}.",
    )


def test_the_page_of_classifiers_quotes_what_was_quantised():
    ours = read("configs/tiny_imagenet.json")[0]
    assert_quotes(comparison.PAGE, f"(seed {ours['seeds'][0]}) lost 0.25 of its {ours['top1'][0]:.2f} points.")


def test_readme_quotes_its_results():
    networks = {n["name"]: [100 * a for a in n["accuracies"]] for n in read(trial_report.DATA)["networks"]}
    random_mean = 100 * trial_report.random_cells(read(trial_report.DATA)["networks"])[0]
    best_by_proxy = next(spread(a, 2) for name, a in networks.items() if name.startswith("candidate"))
    ours, peer = (read(benchmark.MEASURED)["models"][i] for i in (0, 2))
    assert (ours["name"], peer["name"]) == ("timm/gemnet_a", "torchvision/mnasnet1_3")
    tau = means("nasbench101", GEMNET.name, [100], "kendall")[0].lstrip("0")
    others = max(f[100] for label, f in published.NASBENCH101.items() if published.HERE in label and 100 in f)
    searched, by_paper = (paper("search", row, 150, "test accuracy, %") for row in (GEMNET.name, "NASGEM"))
    (pace,) = [p for p in read(f"{pages.FOLDER}/enas.json")["values"]["measures"]["published"] if p["name"] == "PACE"]
    assert_quotes(
        "README.md",
        f"| {speed_against_peer('batch 16, fp32')} times as fast, {ours['macs'] / peer['macs']:.2f} of the MACs |",
        f"| {spread(networks['gemnet_a'], 2)} and {spread(networks['gemnet_b'], 2)} %; 10 random cells {random_mean:.2f} %, "
        f"the best of 20 random ones {best_by_proxy} % |",
        f"| {tau}; others' code on the same cells at most {others:.3f}".replace("most 0.", "most ."),
        f"| {searched['mean']:.2f} ± {searched['deviation']:.2f} % with graph networks; NASGEM's encoder and "
        f"predictor, run here, {by_paper['mean']:.2f} ± {by_paper['deviation']:.2f} % |",
        f"| {float(svge_mean('enas', 'gaussian process RMSE')):.3f}; PACE {pace['measures']['gaussian process RMSE']:.3f} |",
    )
