"""`refine-eval compare`: whether two runs really differ."""

import json
from pathlib import Path

import click

from refine_eval.cli.session_options import results_option


@click.command()
@click.argument("first")
@click.argument("others", metavar="SECOND...", nargs=-1, required=True)
@results_option
@click.option("--metric", help="The metric that decides in lm-eval's samples files.  [default: their first]")
@click.option("--common", is_flag=True, help="Compare the problems that both have, where they differ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all problems won and lost.")
def compare(
    first: str, others: tuple[str, ...], results: Path, metric: str | None, common: bool, as_json: bool
) -> None:
    """Compares FIRST with each SECOND, paired on the same problems: difference, interval, exact McNemar test, problems
    won and lost, and whether the difference is real; if that is not shown, how many problems would show it.

    \b
    Each is one of
        RUN            a run record's choice; RUN is a folder, or a name in RESULTS
        RUN:ROW        another row of its table: draft, or a refiner or selector
        FILE.jsonl     answers that lm-eval kept with --log_samples; FILE:FILTER
        FILE.eval      a log of Inspect, with the extra inspect; FILE:SCORER
        A,B,C          several seeds of one of these; A,B,C:ROW

    With several seeds the interval and the test are over problems and seeds; several comparisons are Holm-corrected.
    """
    from refine_eval.results import compared as shown
    from refine_eval.results.answers import read_answers
    from refine_eval.terminal import print_listing

    of_first, *of_others = read_answers((first, *others), results, metric)
    found = shown.compare_answers(of_first, of_others, common)
    if as_json:
        click.echo(json.dumps([shown.as_json(each) for each in found], indent=2))
        return
    click.echo(shown.title(found))
    print_listing(shown.head(found), [shown.cells(each, len(found) > 1) for each in found])
    for each in found:
        click.echo()
        for line in (shown.sentence(each), *shown.listed(each)):
            click.echo(line)
