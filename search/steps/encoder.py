"""Step 1: the encoder of a search, trained once, kept beside the record, or taken from other searches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.configuration.checking import described
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.types import Encoder, SearchError, Space
from search.encoders import DESCRIPTION, build_encoder, check_settings_of, files_digest, load_encoder, save_encoder
from search.encoders.cache import EncoderCache
from search.record.study import ENCODER_DIRECTORY, Study
from search.spaces.dag import prune

PROBES = 16
"""Random cells whose vectors tell whether the encoder's training has diverged."""


def trained_encoder(settings: Mapping[str, Any], space: Space, schedule: Schedule, study: Study, display: Display) -> Encoder:
    """The encoder of the search in `study`: the one that is saved there, else one from the cache, else one trained now.

    Raises SearchError for an encoder whose training diverges; nothing of it is kept.
    """
    directory, known = study.directory / ENCODER_DIRECTORY, study.snapshot().encoder
    encoder = _saved(directory, known, settings["encoder"], space, display)
    if encoder is None:
        encoder = _new(settings, space, schedule, display)
        save_encoder(directory, encoder)
        if known and files_digest(directory) != known:
            display.line(
                "The encoder is another one than that of the rounds so far, as on another machine or with another torch:"
                " rounds from here on are not those of a search that was left alone."
            )
    study.note_encoder(files_digest(directory))
    return encoder


def _saved(directory: Path, known: str, settings: Mapping[str, Any], space: Space, display: Display) -> Encoder | None:
    """That of this search; None where there is none, or it has to be trained anew. known: the digest of its files, empty in
    older records."""
    if not known and not os.path.lexists(directory / DESCRIPTION):
        return None
    try:
        encoder = load_encoder(directory, space)
        check_settings_of(directory, settings)
        if known and files_digest(directory) != known:
            raise SearchError(f"{directory}: its files are others than this search has written")
    except SearchError as error:
        display.line(f"The encoder is damaged and is trained anew: {error}")
        return None
    return encoder


def _new(settings: Mapping[str, Any], space: Space, schedule: Schedule, display: Display) -> Encoder:
    """Trained now, or taken from the cache."""
    cache = None
    if schedule.encoder_cache:
        cache = EncoderCache(schedule.encoder_cache, {name: settings[name] for name in ("space", "encoder", "seed")})
    encoder = _cached(cache, space, display) if cache else None
    if encoder is None:
        encoder = build_encoder(space=space, **settings["encoder"])
        if encoder.needs_scores:
            raise SearchError(
                f"encoder: {encoder.name} learns from the scores of cells, and a search trains its encoder before it has any;"
                " take another encoder.type, such as lstm or gcn"
            )
        with display.progress("Training the encoder") as progress:
            figures = encoder.fit(settings["seed"], progress)
        _check_vectors(encoder, settings, space)
        if figures:
            told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            display.line(f"Encoder, held-out pairs: {told}")
        if cache:
            cache.save(encoder)
    return encoder


def _check_vectors(encoder: Encoder, settings: Mapping[str, Any], space: Space) -> None:
    """Raises SearchError for an encoder whose training has diverged: before it is saved, or others take it."""
    cells = space.sample(np.random.default_rng(settings["seed"]), PROBES)
    if not np.isfinite(encoder.embed(prune(cells))).all():
        given = dict(settings["encoder"])
        lr = {name: s.default for name, s in described("encoder", given.pop("type")).items()} | given
        which = f" with encoder.lr={lr['lr']:g}; give a smaller encoder.lr" if "lr" in lr else ""
        raise SearchError(f"encoder: vectors of cells are not finite after its training{which}; nothing of it was kept")


def _cached(cache: EncoderCache, space: Space, display: Display) -> Encoder | None:
    """The encoder of another search; None where there is none that can be used."""
    try:
        encoder = cache.load(space)
    except SearchError as error:
        display.line(f"The encoder in the cache is damaged and is trained anew: {error}")
        return None
    if encoder is not None:
        display.line(f"The encoder is taken from {cache.directory}")
    return encoder
