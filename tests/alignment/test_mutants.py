"""Every mutant still finds the line that it breaks. Whether a test notices, `make mutants` says."""

from tests.alignment.mutants import MUTANTS, lost


def test_every_mutant_finds_its_line() -> None:
    assert [fault for mutant in MUTANTS if (fault := lost(mutant))] == []


def test_no_two_mutants_have_one_name() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
