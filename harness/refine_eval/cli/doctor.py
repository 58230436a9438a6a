"""`refine-eval doctor`: what of an installation works, and what to do about what does not."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine_eval.cli.session_options import data_dir_option, plugins_print_to_stderr, results_option

if TYPE_CHECKING:
    from refine_eval.runs.examination import Finding


@click.command()
@data_dir_option
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(data_dir: Path | None, results: Path, as_json: bool) -> None:
    """Looks at the installation: versions, devices, plugins, bundled models, data, hub, store, extras, terminal.

    Of each it says whether it works and, where it does not, what to do. It changes nothing, waits for nothing for
    long, and exits with 1 only where something is broken that runs need.
    """
    from refine_eval.runs.doctor import doctor as look
    from refine_eval.runs.examination import BROKEN
    from refine_eval.runs.settings import data_folder
    from refine_eval.terminal import want_advice

    want_advice(False)  # broken plugins are among the findings
    with plugins_print_to_stderr():
        found = look(results, data_folder(data_dir))
    broken = sum(finding.state == BROKEN for finding in found)
    if as_json:
        click.echo(json.dumps({"works": not broken, "findings": [asdict(finding) for finding in found]}, indent=2))
    else:
        _show(found)
        click.echo(f"\n{broken} of these {len(found)} are broken." if broken else "\nAll that runs need works.")
    click.get_current_context().exit(1 if broken else 0)


def _show(found: list[Finding]) -> None:
    from refine_eval.terminal import one_line

    width = min(24, max(len(finding.name) for finding in found))
    for part, findings in groupby(found, key=lambda finding: finding.part):
        click.echo(click.style(part, bold=True))
        for finding in findings:
            mark = {"ok": "ok    ", "off": "-     ", "broken": "BROKEN"}[finding.state]
            click.echo(f"  {mark}  {one_line(finding.name).ljust(width)}  {one_line(finding.says)}")
            if finding.todo:
                click.echo(f"          {' ' * width}  {one_line(finding.todo)}")
