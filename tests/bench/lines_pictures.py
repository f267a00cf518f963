"""The results on lines as pictures: goodput beside the best, and small requests beside bulk."""
import dots
from lines_report import Figure, Wait, rounds

GOODPUT = {"down": Figure("down", "MBps", more_is_better=True), "up": Figure("up", "MBps", more_is_better=True)}
SMALL = {
    "new tunnels beside a download": Wait("down", "small", "new", "p95"),
    "an open tunnel beside a download": Wait("down", "small", "open", "p95"),
    "new tunnels beside an upload": Wait("up", "small", "new", "p95"),
    "an open tunnel beside an upload": Wait("up", "small", "open", "p95"),
}


def draw(results, directory):
    """Writes what there are figures for."""
    directory.mkdir(parents=True, exist_ok=True)
    said = f"{rounds(results)}, medians; {results['machine']['when'][:10]}"
    goodput = {heading: {line: of_the_best(values) for line, values in medians(results, figure).items()} for heading, figure in GOODPUT.items()}
    if any(goodput.values()):
        picture = dots.svg("Goodput on lines", f"percent of the best on that line; nothing moves: 0; {said}", goodput,
                           dots.Scale([0, 20, 40, 60, 80, 100]), "% of the best")
        (directory / "lines-goodput.svg").write_text(picture)
    small = {heading: rows for heading, figure in SMALL.items() if (rows := medians(results, figure))}
    if small:
        picture = dots.svg("Small requests beside bulk", f"95 % of them are answered within; {said}", small,
                           dots.Scale([20, 50, 100, 200, 500, 2000, 5000, 20000], logarithmic=True), "ms")
        (directory / "lines-small.svg").write_text(picture)


def medians(results, figure):
    """{line: {peer: number}}, without lines that have none."""
    rows = {}
    for name, line in results["lines"].items():
        values = {peer: figure.median(line["runs"].get(peer, [])) for peer in results["peers"]}
        # What stands still is as bad as can be shown.
        worst = 0.0 if figure.more_is_better else 1e9
        values = {peer: worst if isinstance(value, str) else value for peer, value in values.items() if value is not None}
        if values:
            rows[name] = values
    return rows


def of_the_best(values):
    best = max(values.values())
    return {peer: 100 * value / best if best else 0.0 for peer, value in values.items()}
