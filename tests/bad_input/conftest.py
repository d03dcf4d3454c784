"""Commands under bad input: what they must do, and the table of what was tried."""

import pytest


@pytest.fixture
def run_command(run_child, request, tmp_path):
    """`run_child` in the test's own folder, counted in the table of what was tried."""

    def running(command, *arguments, cwd=tmp_path, timeout=120, **options):
        request.node.user_properties.append((PROPERTY, f"{command} {_kind(request)}"))
        return run_child(command, *arguments, cwd=cwd, timeout=timeout, **options)

    return running


@pytest.fixture
def refuses(run_command, tmp_path):
    """Asserts that a command ends with status 2 and one message that has all of the `words`.

    Takes what `run_command` takes, and returns the same.
    """

    def refusing(command, *arguments, words=(), **options):
        done = run_command(command, *arguments, **options)
        line = " ".join(map(str, arguments))
        story = f"{command} {line:.1000}\n{done.stdout:.5000}\n{done.stderr:.5000}"
        assert done.status == 2, f"status {done.status}: {story}"
        assert "Traceback" not in done.stderr + done.stdout, story
        assert done.stderr.strip(), f"without a message: {story}"
        for word in (words,) if isinstance(words, str) else words:
            assert word in done.stderr, f"{word!r} is missing: {story}"
        assert not list(tmp_path.rglob("*.part")), f"half-written files: {story}"
        return done

    return refusing


PROPERTY = "bad_input"


def _kind(request) -> str:
    """The kind of bad input that a test file is about, which is in its name."""
    return request.path.stem.removeprefix("test_")
