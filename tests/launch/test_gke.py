"""launch/gke.sh and launch/gke_jobset.yaml, held against the schemas of JobSet and Kubernetes."""

import math

import pytest
import yaml
from fake_programs import ROOT

SCRIPT = ROOT / "launch" / "gke.sh"
IMAGE = "--image=europe-docker.pkg.dev/project/repository/renyi_jax:tpu"
RUN = (
    "--config=configs/deit_s_aircraft.py",
    "--workdir=gs://bucket/a run",
    """--config.x=('a', "b") \\ # $(HOME): {c} \t &""",
    "two\nlines",
)


def check(manifest):
    """Fields that Kubernetes does not know are lost on the way through its types."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    assert manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert manifest["kind"] == "JobSet"
    assert not list(lost(manifest, models.JobsetV1alpha2JobSet.from_dict(manifest).to_dict()))


def lost(given, kept, place=""):
    """Where `kept`, which may hold defaults too, does not hold what `given` does."""
    if isinstance(given, dict):
        for name, value in given.items():
            yield from lost(value, kept.get(name), f"{place}.{name}")
    elif isinstance(given, list):
        for number, value in enumerate(given):
            yield from lost(value, kept[number], f"{place}[{number}]")
    elif given != kept:
        yield place


def worker(manifest):
    return manifest["spec"]["replicatedJobs"][0]["template"]["spec"]


@pytest.fixture
def dry_run(fake_programs):
    fake_programs.add("kubectl")

    def run(*flags):
        result = fake_programs.run(SCRIPT, IMAGE, *flags, "--dry_run", "--", *RUN)
        assert result.returncode == 0, result.stderr
        assert fake_programs.calls() == []
        return yaml.safe_load(result.stdout)

    return run


def test_the_manifest_as_it_lies_there_fits_the_schema():
    check(yaml.safe_load((ROOT / "launch" / "gke_jobset.yaml").read_text()))


def test_the_schema_check_sees_an_unknown_field_and_a_wrong_type():
    manifest = yaml.safe_load((ROOT / "launch" / "gke_jobset.yaml").read_text())
    pod = worker(manifest)["template"]["spec"]
    pod["restartPolicies"] = "Never"
    with pytest.raises(AssertionError, match="restartPolicies"):
        check(manifest)
    del pod["restartPolicies"]
    pod["terminationGracePeriodSeconds"] = "90"
    with pytest.raises(ValueError, match="terminationGracePeriodSeconds"):
        check(manifest)


@pytest.mark.parametrize(
    ("topology", "accelerator"),
    [
        ("v5e:4x4", "tpu-v5-lite-podslice"),
        ("v5e:16x16", "tpu-v5-lite-podslice"),
        ("v4:2x2x4", "tpu-v4-podslice"),
        ("v5p:4x4x4", "tpu-v5p-slice"),
        ("v6e:2x2", "tpu-v6e-slice"),
    ],
)
def test_every_machine_of_the_slice_gets_a_worker_and_all_of_its_chips(
    dry_run, topology, accelerator
):
    manifest = dry_run(f"--topology={topology}")
    check(manifest)
    shape = topology.split(":")[1]
    job, pod = worker(manifest), worker(manifest)["template"]["spec"]
    chips = pod["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert job["parallelism"] * chips == math.prod(map(int, shape.split("x")))
    assert job["completions"] == job["parallelism"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": shape,
    }


def test_the_flags_of_the_run_arrive_as_they_were_given(dry_run):
    (container,) = worker(dry_run("--topology=v5e:4x4"))["template"]["spec"]["containers"]
    assert [word.replace("$$(", "$(") for word in container["args"]] == list(RUN)
    assert container["image"] == IMAGE.removeprefix("--image=")


def test_only_wrong_flags_end_the_run_and_all_else_starts_it_again(dry_run):
    manifest = dry_run("--topology=v5e:4x4")
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] > 0
    (rule,) = worker(manifest)["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}
    # What Kubernetes asks for where there is such a rule.
    assert worker(manifest)["template"]["spec"]["restartPolicy"] == "Never"


def test_name_and_spot_machines_can_be_chosen(dry_run):
    manifest = dry_run("--topology=v5e:4x4", "--spot", "--name=mine")
    check(manifest)
    assert manifest["metadata"]["name"] == "mine"
    selector = worker(manifest)["template"]["spec"]["nodeSelector"]
    assert selector["cloud.google.com/gke-spot"] == "true"


def test_kubectl_gets_what_the_dry_run_prints(fake_programs, dry_run):
    printed = dry_run("--topology=v5e:4x4")
    fake_programs.add("kubectl", "cat >applied")
    assert fake_programs.run(SCRIPT, IMAGE, "--topology=v5e:4x4", "--", *RUN).returncode == 0
    assert fake_programs.calls() == [["kubectl", "apply", "--filename=-"]]
    assert yaml.safe_load((fake_programs.folder / "applied").read_text()) == printed


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((IMAGE, "--", *RUN), "v5e:4x4"),
        ((IMAGE, "--topology=v5e:1x1", "--", *RUN), "1 chips are no multiple of the 4"),
        (("--topology=v5e:4x4", "--", *RUN), "launch/Dockerfile"),
        ((IMAGE, "--topology=v5e:4x4", "--name=A b", "--", *RUN), "small letters"),
        ((IMAGE, "--topology=v5e:4x4", "--", "--config=a.py", "--workdir=x"), "gs://BUCKET/DIR"),
    ],
)
def test_a_mistake_ends_with_status_2_and_says_what_was_expected(fake_programs, flags, expected):
    fake_programs.add("kubectl")
    result = fake_programs.run(SCRIPT, *flags)
    assert result.returncode == 2
    assert expected in result.stderr
    assert fake_programs.calls() == []
