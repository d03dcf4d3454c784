"""launch/tpu_pod.sh: what it prints, and what it does with a gcloud that stands in for Google's."""

import pytest
from fake_programs import ROOT, printed_commands, worker_flags

SCRIPT = ROOT / "launch" / "tpu_pod.sh"
SLICE = ("--type=v5litepod-16", "--zone=us-west4-a", "--spot", "--name=my-slice")
RUN = (
    "--config=configs/deit_s_aircraft.py",
    "--workdir=gs://bucket/run",
    "--config.evaluate.criteria=('renyi', 'random')",
    """--config.data.manual_dir=/a b/$HOME/"c"\\d;e""",
)

# Knows one slice, whose state stands in a file. Each start of the run ends as STATUSES say, one
# word a start; at status 255 the slice has been preempted.
GCLOUD = """
case "$*" in
  *" describe "*) [[ -f slice ]] && cat slice ;;
  *" create "*) echo ACTIVE >slice ;;
  *" delete "*) rm slice ;;
  *" scp "*) tar -tzf "$5" >shipped ;;
  *" ssh "*worker.sh*)
    touch starts
    echo x >>starts
    status="$(echo "$STATUSES" | cut -d' ' -f"$(wc -l <starts)")"
    ((status != 255)) || echo SUSPENDED >slice
    exit "$status" ;;
esac
"""


@pytest.fixture
def pod(fake_programs):
    fake_programs.add("gcloud", GCLOUD)

    def run(statuses, *flags):
        out = f"--out={fake_programs.folder / 'out'}"
        return fake_programs.run(
            SCRIPT, *SLICE, out, *flags, "--", *RUN, STATUSES=statuses, RETRY_SECONDS="0"
        )

    return run


def verbs(calls):
    """What each call of gcloud is for; the looks at the state are left out."""
    names = []
    for call in calls:
        if call[0] == "gcloud" and "describe" not in call:
            verb = next(w for w in call if w in ("create", "delete", "scp", "ssh", "rsync"))
            last = call[-2] if verb == "ssh" else ""
            names.append({True: "run", False: "install"}["worker.sh" in last] if last else verb)
    return names


WHOLE = ["create", "scp", "install", "run", "rsync", "delete"]


def test_a_dry_run_prints_the_commands_and_calls_none(fake_programs, pod):
    result = pod("", "--dry_run")
    assert result.returncode == 0, result.stderr
    assert fake_programs.calls() == []
    # The deletion of a slice that was preempted stands between.
    assert verbs(printed_commands(result.stdout)) == [*WHOLE[:-2], "delete", *WHOLE[-2:]]
    assert "100 times at most" in result.stdout
    assert [path.name for path in fake_programs.folder.iterdir()] == ["bin"]


def test_a_dry_run_prints_what_a_run_calls(fake_programs, pod):
    printed = printed_commands(pod("", "--dry_run").stdout)
    assert pod("0").returncode == 0
    for call in fake_programs.calls():
        if "scp" in call:  # the archive has a name of its own each time
            call = [word if word != call[5] else "/tmp/renyi_jax.tgz" for word in call]
        assert call in printed


def test_every_worker_gets_the_checkout_the_installation_and_the_run(fake_programs, pod):
    pod("0")
    calls = [call for call in fake_programs.calls() if "ssh" in call or "scp" in call]
    assert len(calls) == 3
    assert all("--worker=all" in call and "--zone=us-west4-a" in call for call in calls)


def test_the_checkout_is_shipped_without_what_stays_at_home(fake_programs, pod):
    pod("0")
    shipped = (fake_programs.folder / "shipped").read_text().split()
    assert {"./renyi_jax/main.py", "./launch/worker.sh", "./pyproject.toml"} <= set(shipped)
    assert not [name for name in shipped if name.startswith(("./.", "./runs")) and name != "./"]


def test_the_flags_of_the_run_arrive_as_they_were_given(fake_programs, pod):
    pod("0")
    (command,) = (w for call in fake_programs.calls() for w in call if "worker.sh" in w)
    assert worker_flags(command) == ["--distributed", *RUN]


def test_a_preempted_slice_is_made_again_and_the_run_goes_on(fake_programs, pod):
    result = pod("255 255 0")
    assert result.returncode == 0, result.stderr
    again = ["delete", *WHOLE[:-2]]
    assert verbs(fake_programs.calls()) == [*WHOLE[:-2], *again, *again, "rsync", "delete"]


def test_a_run_that_stopped_early_goes_on_on_the_same_slice(fake_programs, pod):
    assert pod("75 1 0").returncode == 0
    again = WHOLE[1:-2]
    assert verbs(fake_programs.calls()) == [*WHOLE[:-2], *again, *again, "rsync", "delete"]


def test_wrong_flags_of_the_run_are_not_tried_twice(fake_programs, pod):
    result = pod("2")
    assert result.returncode == 2
    assert verbs(fake_programs.calls()) == WHOLE[:-2]
    assert "is kept" in result.stderr


def test_it_gives_up_after_max_starts_and_says_so(fake_programs, pod):
    result = pod("75 75 75", "--max_starts=2")
    assert result.returncode == 75
    assert verbs(fake_programs.calls()).count("run") == 2
    assert "Gave up after 2 starts" in result.stderr


def test_a_slice_that_is_there_is_taken_and_can_be_kept(fake_programs, pod):
    (fake_programs.folder / "slice").write_text("ACTIVE\n")
    assert pod("0", "--keep").returncode == 0
    assert verbs(fake_programs.calls()) == WHOLE[1:-1]


def test_a_slice_that_cannot_be_created_ends_it(fake_programs):
    fake_programs.add("gcloud", "exit 1")
    result = fake_programs.run(SCRIPT, *SLICE, "--", *RUN)
    assert result.returncode == 1
    assert verbs(fake_programs.calls()) == ["create"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--zone=z", "--", *RUN), "--type="),
        (("--type=v5litepod-16", "--", *RUN), "--zone="),
        (("--type=h100", "--zone=z", "--", *RUN), "v4-N, v5litepod-N"),
        ((*SLICE, "--keeep", "--", *RUN), "--keeep"),
        ((*SLICE, "--", "--workdir=gs://a/b"), "--config="),
        ((*SLICE, "--", "--config=a.py", "--workdir=runs/here"), "gs://BUCKET/DIR"),
    ],
)
def test_a_mistake_ends_with_status_2_and_says_what_was_expected(fake_programs, flags, expected):
    fake_programs.add("gcloud")
    result = fake_programs.run(SCRIPT, *flags)
    assert result.returncode == 2
    assert expected in result.stderr
    assert fake_programs.calls() == []
