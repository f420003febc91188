"""The command line: reads the line, calls one function, prints."""

import click
import cloup

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

SECTIONS = {  # of the help -> commands
    "Data": (data.data, choose.choose),
    "Train and score": (run.run, predict.predict, score.score),
    "Compare methods": (pilot.pilot, sweep.sweep, sweep.ablate, tune.tune, speed.speed),
    "Results": (report.report, report.verify, statistics.plan, statistics.simulate),
    "Methods and settings": (methods.list_methods, methods.recipes, methods.new, methods.check, doctor.doctor),
}


@cloup.group(
    cls=Sentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    sections=[cloup.Section(title, list(commands)) for title, commands in SECTIONS.items()],
)
@click.version_option(package_name="pathology-ssl-bench")
def main() -> None:
    """Compares semi-supervised segmentation methods on pathology images.

    \b
    Start here:
      bench run --method cdma --ratio 0.1                train and score one method, with a picture
      bench sweep quick                                  a first table, in minutes
      bench report                                       tables, figures and a page of all runs
      bench data list                                    the datasets, and which have been added
      bench data add folder ~/slides --name mine         add your own images
      bench sweep quick --dataset mine --ratios 1        with all masks of the training images
      bench speed --methods supervised,cdma              how fast they train and predict here
      bench doctor                                       what of this machine is used
      bench doctor --gpu                                 whether every method trains correctly on its GPU

    \b
    Completion of names in the shell:
      eval "$(_BENCH_COMPLETE=bash_source bench)"        or zsh_source (after compinit), fish_source
    """
