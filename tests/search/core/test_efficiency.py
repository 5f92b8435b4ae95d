import numpy as np
import pytest

from search.core.efficiency import efficiency_score


def test_the_score_is_accuracy_less_a_tenth_of_log10_of_the_millions_of_macs():
    assert efficiency_score(0.9, 100) == pytest.approx(0.7)
    assert efficiency_score(0.9, 1) == pytest.approx(0.9)
    assert efficiency_score(0.5, 0.1, penalty=0.2) == pytest.approx(0.7)


def test_arrays_are_scored_element_by_element():
    assert np.allclose(efficiency_score(np.array([0.5, 0.6]), np.array([10, 100])), [0.4, 0.4])


def test_costs_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match="positive"):
        efficiency_score(0.5, 0)
