"""The made task and the small space, trained for a moment."""

from svge_fixtures import graphs, learned, model, quick, task, tuned  # noqa: F401
