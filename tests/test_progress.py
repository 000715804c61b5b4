"""Progress bars show in a front end and nowhere else."""

from types import SimpleNamespace

import pytest

from helpers import progress


@pytest.fixture
def shell(monkeypatch):
    """Return a function that puts the code into a given IPython shell."""

    def enter(shell: object) -> None:
        monkeypatch.setattr(progress, "get_ipython", lambda: shell)

    return enter


FRONT_END = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True))
WITHOUT_READER = [
    None,  # plain Python
    SimpleNamespace(),  # IPython in a terminal
    SimpleNamespace(kernel=None),
    SimpleNamespace(kernel=SimpleNamespace()),
    SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=False)),  # papermill, nbclient, nbval
]


def test_plain_python_is_headless():
    assert progress.is_headless()


@pytest.mark.parametrize("without", WITHOUT_READER)
def test_a_kernel_that_cannot_ask_is_headless(shell, without):
    shell(without)
    assert progress.is_headless()


def test_a_kernel_that_can_ask_has_a_reader(shell):
    shell(FRONT_END)
    assert not progress.is_headless()


def test_a_headless_bar_writes_nothing(capsys):
    with progress.bar(10, "training") as bar:
        bar.update(10)
    output = capsys.readouterr()
    assert output.out == output.err == ""


def test_a_bar_in_a_front_end_shows_what_is_going_on(shell, capsys):
    shell(FRONT_END)
    with progress.bar(10, "layer 2 of 6", mininterval=0, miniters=1) as bar:
        bar.update(4)
    shown = capsys.readouterr().err
    assert "layer 2 of 6" in shown
    assert "4/10" in shown
    assert "step/s" in shown
    assert not shown.endswith("\n")  # the bar is wiped out, no line of it stays


def test_options_reach_tqdm(shell, capsys):
    shell(FRONT_END)
    with progress.bar(2048, "file", unit="B", unit_scale=True, mininterval=0) as bar:
        bar.update(2048)
    assert "2.05k/2.05k" in capsys.readouterr().err
