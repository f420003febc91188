"""The command line: reads the line, calls one function, prints."""

import click

from benchmark.cli import (
    choose,
    data,
    doctor,
    methods,
    pilot,
    predict,
    report,
    run,
    score,
    speed,
    statistics,
    sweep,
    tune,
)
from benchmark.cli.errors import Sentences


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pathology-ssl-bench")
def main() -> None:
    """Compares semi-supervised segmentation methods on pathology images.

    \b
    Start here:
      bench run --method cdma --ratio 0.1                train, score and picture one method
      bench sweep quick                                  a first table, in minutes
      bench report                                       tables, figures and a page of all runs
      bench data list                                    which datasets there are, and which are here
      bench data add folder ~/slides --name mine         bring your own images
      bench sweep quick --dataset mine --ratios 1        with all masks that may teach
      bench speed --methods supervised,cdma              how fast they train and predict here
      bench doctor                                       what of this machine will be used
      bench doctor --gpu                                 whether every method trains correctly on its GPU

    \b
    Completion of names in the shell:
      eval "$(_BENCH_COMPLETE=bash_source bench)"        or zsh_source (after compinit), fish_source
    """


for command in (run.run, predict.predict, score.score, sweep.sweep, sweep.ablate, tune.tune):
    main.add_command(command)
for command in (report.report, report.verify, pilot.pilot, statistics.plan, statistics.simulate):
    main.add_command(command)
for command in (choose.choose, speed.speed, data.data):
    main.add_command(command)
for command in (methods.list_methods, methods.new, methods.check, doctor.doctor):
    main.add_command(command)
