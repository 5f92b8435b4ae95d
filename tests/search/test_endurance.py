"""What a search survives, as a user runs it: kills, a full disk, readers, a second search. Minutes each, so off by default.

    pytest -m slow -s tests/search/test_endurance.py                              all of it; ENDURANCE_KILLS=100 unless given
    ENDURANCE_KILLS=10 pytest -m slow -s tests/search/test_endurance.py -k kills  fewer
    pytest -m slow -s tests/search/test_endurance.py -k disk                      needs Linux, as root or with user namespaces
    pytest -m slow -s tests/search/test_endurance.py -k "reader or second"
    FUZZ_COUNT=100000 pytest -m slow -s tests/gemnet/test_fuzz.py                 mutated cell files

With -s each tells what it counted.
"""

import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.core.types import SearchError
from search.record.study import DONE, PENDING, RECORD, holder, read_study

ROOT = Path(__file__).parents[2]
OPTIONS = [
    "space.num_nodes=6", "encoder.iterations=20", "encoder.dim=8", "proxy.epochs=2", "proxy.width=4", "predictor.steps=40",
    "search.start=4", "search.rounds=2", "search.batch=2", "search.draws=500", "search.top=2", "executor.workers=1",
]  # fmt: skip
KILLS = int(os.environ.get("ENDURANCE_KILLS", 100))

pytestmark = pytest.mark.slow


def command(work_dir):
    return [sys.executable, str(ROOT / "tools/search.py"), "--work-dir", str(work_dir), "--cfg-options", *OPTIONS]


def search(work_dir):
    return subprocess.run(command(work_dir), capture_output=True, text=True, timeout=600, cwd=ROOT)


def started(work_dir, **kwargs):
    return subprocess.Popen(command(work_dir), cwd=ROOT, stdout=subprocess.DEVNULL, **kwargs)


def essence(work_dir):
    return [(r.id, r.round, r.digest, r.seed, r.state, r.predicted, r.accuracy, r.score) for r in read_study(work_dir).records]


def ended(work_dir):
    """The rows of evaluations that have ended, by digest; none while there is no record."""
    try:
        return {r.digest: r for r in read_study(work_dir).records if r.state != PENDING}
    except SearchError:  # the file is not there, or its tables are not yet
        return {}


def eventually(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The work directory of a search that was left alone, and how many seconds it took."""
    work_dir, start = tmp_path_factory.mktemp("undisturbed") / "w", time.monotonic()
    result = search(work_dir)
    assert result.returncode == 0, result.stderr
    return work_dir, time.monotonic() - start


def test_kills_at_random_moments_lose_and_repeat_nothing_and_change_no_result(undisturbed, tmp_path):
    expected, seconds = undisturbed
    chance, kills, searches, evaluations = random.Random(1), 0, 0, 0
    while kills < KILLS:
        work_dir, seen, running = tmp_path / str(searches), {}, True
        while running:
            with started(work_dir) as process:
                try:
                    running = process.wait(chance.uniform(0.2, seconds) if kills < KILLS else 600) != 0
                    assert process.returncode == 0
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
            now = ended(work_dir)
            assert {digest: now.get(digest) for digest in seen} == seen  # seconds included: none was trained again
            seen = now
        assert essence(work_dir) == essence(expected)
        for name in ("best_cell.json", "top_cells/2.json"):
            assert (work_dir / name).read_bytes() == (expected / name).read_bytes()
        searches, evaluations = searches + 1, evaluations + len(seen)
        shutil.rmtree(work_dir)
    print(f"\n{kills} kills, {searches} searches, {evaluations} evaluations: none lost, none repeated, all ends equal")


FULL_DISK = """
set -u
mount -t tmpfs -o size=$SIZE none "$DISK" || exit 99
$COMMAND > "$OUT/first.txt" 2>&1
echo $? > "$OUT/first.code"
mount -o remount,size=64m "$DISK"
$COMMAND > "$OUT/second.txt" 2>&1
echo $? > "$OUT/second.code"
cp -r "$DISK/w" "$OUT/w"
"""


@pytest.mark.parametrize("size", ["16k", "64k", "128k", "192k", "256k", "400k"])
def test_a_disk_that_is_full_is_told_and_once_there_is_room_the_search_ends_as_if_nothing_had_been(undisturbed, tmp_path, size):
    alone = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    apart = ["unshare", *alone, "--mount"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("a small disk needs Linux's unshare, as root or with user namespaces")
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.mkdir()
    environment = {"SIZE": size, "DISK": str(disk), "OUT": str(out), "COMMAND": shlex.join(command(disk / "w"))}
    result = subprocess.run([*apart, "sh", "-c", FULL_DISK], env={**os.environ, **environment}, cwd=ROOT, timeout=900)
    if result.returncode == 99:
        pytest.skip("mounting a tmpfs is not allowed here")
    told, code = (out / "first.txt").read_text(), int((out / "first.code").read_text())
    lines = told.strip().splitlines()
    print(f"\n{size}: exit code {code}, {lines[-1][-160:]}")
    assert "Traceback" not in told
    assert code == 1
    assert re.search(r"^search: .*(free some space|full)", lines[-1])
    assert (out / "second.code").read_text().strip() == "0", (out / "second.txt").read_text()
    assert essence(out / "w") == essence(undisturbed[0])


def test_a_reader_all_along_sees_every_evaluation_once_and_disturbs_nothing(undisturbed, tmp_path):
    work_dir, reads, seen = tmp_path / "w", 0, {}
    with started(work_dir) as process:
        eventually(lambda: ended(work_dir))
        old = sqlite3.connect(f"file:{work_dir / RECORD}?mode=ro", uri=True, isolation_level=None)
        old.execute("BEGIN")
        count = "SELECT count(*) FROM evaluations WHERE state = 'done'"
        first = old.execute(count).fetchone()  # a reader that never lets go: it keeps what it saw
        while process.poll() is None:
            now = {r.digest: r for r in read_study(work_dir).records if r.state == DONE}
            assert {digest: now[digest] for digest in seen} == seen
            seen, reads = now, reads + 1
        assert old.execute(count).fetchone() == first
        old.close()
    assert process.returncode == 0
    assert essence(work_dir) == essence(undisturbed[0])
    print(f"\nread {reads} times while {len(seen)} evaluations were written")


def test_a_second_search_on_one_directory_is_refused_and_the_lock_of_a_dead_one_is_taken_over(undisturbed, tmp_path):
    work_dir = tmp_path / "w"
    with started(work_dir) as process:
        eventually(lambda: ended(work_dir))
        process.send_signal(signal.SIGSTOP)  # it would end before the second has begun
        refused = search(work_dir)
        process.kill()
    assert refused.returncode == 1
    assert f"is in use by process {process.pid} on " in refused.stderr
    assert "Traceback" not in refused.stderr
    assert holder(work_dir) == ""
    assert search(work_dir).returncode == 0
    assert essence(work_dir) == essence(undisturbed[0])
    print(f"\nrefused: {refused.stderr.strip()}")
