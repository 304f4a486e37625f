"""The commands on jobs, pipelines and models, as `command_line` offers them."""

from __future__ import annotations

from alignment.shared.stage_names import ON_DATA, Stage
from annotation_api.cli.commands import compare, data, jobs, labels, models, pipelines
from annotation_api.cli.parsers import Parser, Sub, client_command, command, group, values
from annotation_api.db.kinds import DatasetKind, JobState, ModelKind


def add_jobs(commands: Sub[Parser]) -> None:
    inner = group(commands, "jobs", "create, follow, pause and stop jobs")
    client_command(inner, "create", jobs.create, "queue one stage").options = _add_stage
    listing = client_command(inner, "list", jobs.list_jobs, "newest first")
    listing.add_argument("--stage", choices=values(Stage), action="append", help="several times for several")
    listing.add_argument("--state", choices=values(JobState), action="append", help="several times for several")
    _which(listing)
    _found_by(listing)
    for name, run, text in (
        ("show", jobs.show, "one job"),
        ("watch", jobs.watch_job, "follow a job to its end"),
        ("cancel", jobs.ask, "stop a job, and those that wait for it"),
        ("pause", jobs.ask, "let a job save a checkpoint and give its GPUs back"),
        ("resume", jobs.again, "let a paused job go on; try a failed or cancelled one again"),
        ("retry", jobs.again, "queue a failed or cancelled job again"),
        ("attempts", jobs.attempts, "every attempt at a job and how it ended"),
        ("checkpoints", jobs.checkpoints, "what it saved on the way, and what it compared at the end"),
        ("wins", jobs.wins, "how often people prefer the policy of a ppo job to the SFT policy, at each evaluation"),
    ):
        parser = client_command(inner, name, run, text)
        parser.add_argument("job", metavar="JOB", help="id or name")
        if run is jobs.again:
            _changed(parser)
    log = client_command(inner, "log", jobs.log, "the last lines that an attempt wrote")
    log.add_argument("job", metavar="JOB", help="id or name")
    log.add_argument("--attempt", type=int, metavar="N", help="its number; unset: the newest")
    log.add_argument("--lines", type=int, default=100, help="how many (100)")


def _add_stage(create: Parser) -> None:
    from annotation_api.cli.commands import stage_inputs

    create.add_argument("stage", choices=[stage.value for stage in Stage if stage not in ON_DATA], help="what it does")
    stage_inputs.add_options(create)
    create.add_argument("--validate", action="store_true", help="only say what it would do")
    _settings(create)
    _labels(create)
    create.add_argument("--priority", type=int, default=0, help="higher goes first (0)")


def _changed(parser: Parser) -> None:
    """With what a job goes on."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting; dots nest")
    parser.add_argument("--gpus", type=float, help="other GPUs than it asked for")
    parser.add_argument("--priority", type=int, help="higher goes first")


def _which(parser: Parser) -> None:
    parser.add_argument("--mine", action="store_true", help="only those that you made")
    parser.add_argument("--limit", type=int, default=50, help="rows at most (50)")


def _found_by(parser: Parser) -> None:
    parser.add_argument("--name", help="only those of this very name")
    parser.add_argument("--tag", metavar="TAG", help="only those with this tag")


def _settings(parser: Parser) -> None:
    parser.add_argument("--preset", help="named settings, for example toy")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; dots nest")
    parser.add_argument("--gpus", type=float, default=1, help="0: the CPU is enough; a fraction shares one")
    parser.add_argument("--allow-cpu", action="store_true", help="do not wait for a GPU where a cluster has none now")
    parser.add_argument("--watch", action="store_true", help="show progress")


def add_pipeline(commands: Sub[Parser]) -> None:
    inner = group(commands, "pipeline", "SFT, reward model and PPO in turn")
    run = client_command(inner, "run", pipelines.run, "run the three stages and wait for them")
    run.add_argument(
        "--base", required=True, metavar="MODEL", help="id or name of a registered model, folder or hub id"
    )
    run.add_argument(
        "--demonstrations",
        required=True,
        metavar="DATASET",
        help="what SFT learns from; id, name, snapshot:ID or project:ID",
    )
    run.add_argument(
        "--preferences",
        required=True,
        metavar="DATASET",
        help="what the reward model learns from; rankings, too; id, name, snapshot:ID or project:ID",
    )
    run.add_argument("--prompts", metavar="DATASET", help="for PPO; unset: those of the preferences")
    run.add_argument("--pretraining", metavar="DATASET", help="for PPO with a ptx_coef; unset: the demonstrations")
    run.add_argument("--project", metavar="PROJECT", help="where people compare PPO's replies with the SFT policy's")
    run.add_argument("--detach", action="store_true", help="return as soon as the jobs are queued")
    run.add_argument("--validate", action="store_true", help="only say what each stage would do; start nothing")
    _settings(run)
    _labels(run)
    listing = client_command(inner, "list", pipelines.list_pipelines, "newest first")
    _which(listing)
    _found_by(listing)
    for name, verb, text in (
        ("show", pipelines.show, "its three stages"),
        ("cancel", pipelines.ask, "stop every stage that has not ended"),
        ("pause", pipelines.ask, "let the stage that trains save a checkpoint and give its GPUs back"),
        ("resume", pipelines.ask, "go on from the stage that failed, was cancelled or is paused"),
    ):
        parser = client_command(inner, name, verb, text)
        parser.add_argument("pipeline", metavar="PIPELINE", help="id or name")
        if name == "resume":
            parser.add_argument(
                "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting: ppo.kl_coef=0.1"
            )


def add_models(commands: Sub[Parser]) -> None:
    inner = group(commands, "models", "base models, and what jobs made of them")
    listing = client_command(inner, "list", models.list_models, "newest first")
    listing.add_argument("--kind", choices=values(ModelKind), help="only those of it")
    listing.add_argument("--limit", type=int, default=50, help="rows at most (50)")
    _found_by(listing)
    register = client_command(inner, "register", models.register_model, "register a base model")
    register.add_argument("path", metavar="PATH", help="folder below an allowed root, or an allowed hub id")
    register.add_argument("--name", help="shown in lists; unset: the last part of PATH")
    upload = client_command(inner, "upload", models.upload, "send a folder of this machine as a base model")
    upload.add_argument("folder", metavar="FOLDER", help="safetensors, settings, vocabulary; other files stay here")
    upload.add_argument("--name", help="shown in lists; unset: the folder's")
    upload.add_argument("--resume", metavar="ID", help="go on with an upload that broke off")
    check = command(inner, "check", "what a folder of this machine is, and whether each stage can use it")
    check.add_argument("folder", metavar="FOLDER", help="of a model")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(here=models.check_folder)
    convert = command(inner, "convert", "a folder with pickled weights as a new one with safetensors")
    convert.add_argument("folder", metavar="FOLDER", help="with the pickled weights")
    convert.add_argument("out", metavar="NEW_FOLDER", help="must not be there yet")
    convert.add_argument("--json", action="store_true", help="print JSON")
    convert.set_defaults(here=models.convert_folder)
    client_command(inner, "show", models.show, "one model").add_argument("model", metavar="MODEL", help="id or name")
    client_command(inner, "lineage", models.lineage, "back to the annotations").add_argument(
        "model", metavar="MODEL", help="id or name"
    )


def add_kept(commands: Sub[Parser]) -> None:
    """`rankloop datasets` and `rankloop snapshots`: what `import` and `export` left."""
    for group_name, run, text in (
        ("datasets", data.list_datasets, "what was imported or prepared"),
        ("snapshots", data.list_snapshots, "data that were frozen: what jobs read, and `export` writes"),
    ):
        inner, thing = group(commands, group_name, text), group_name.removesuffix("s")
        listing = client_command(inner, "list", run, "newest first")
        listing.add_argument("--limit", type=int, default=50, help="rows at most (50)")
        _found_by(listing)
        if run is data.list_datasets:
            listing.add_argument("--kind", choices=values(DatasetKind), help="only those of it")
        one = client_command(inner, "show", data.show, f"one {'data set' if thing == 'dataset' else thing}")
        one.add_argument(thing, metavar=thing.upper(), help="id or name")


def add_compare(commands: Sub[Parser]) -> None:
    """`rankloop compare`, and `rankloop label`, which names what is compared."""
    beside = client_command(commands, "compare", compare.compare, "two to eight jobs side by side: did it get better?")
    beside.add_argument("things", metavar="JOB", nargs="+", help="ids or names")
    beside.add_argument("--models", action="store_true", help="they are models")
    name = client_command(commands, "label", labels.change, "give a thing another name, notes or tags")
    name.add_argument("kind", choices=("job", "pipeline", "model", "dataset", "snapshot"), help="what THING is")
    name.add_argument("thing", metavar="THING", help="its id or name")
    _labels(name)


def _labels(parser: Parser) -> None:
    parser.add_argument("--name", help="shown in lists; the command line takes it for the id")
    parser.add_argument("--notes", help="what is worth knowing")
    parser.add_argument("--tag", action="append", metavar="TAG", help="a word to find it by; several times for several")
