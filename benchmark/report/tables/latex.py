"""Tables as LaTeX: in 8 points, at most as wide as a page of LNCS, with booktabs and citations."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from benchmark.report.tables.table import END, Cell, Column, Line, Table, provenance
from benchmark.words import slug

POINTS = 8  # the size of letters
WIDTH = 345.0  # points: the text width of LaTeX's article class and of Springer LNCS
GAP = 3.0  # points on either side of a column
NARROW, USUAL, BROAD = 2.9, 4.3, 6.6  # points: widths of signs, of letters and digits, and of capitals in that size
LONGEST = 150.0  # points, of a column of text; longer texts are broken
LINES = 34  # of a table on a page; a longer one goes on in a second


def to_latex(table: Table) -> str:
    """Floats for booktabs: lines in pages, and columns in parts that each fit `WIDTH`, with the first column in each.

    The notes are the caption of the first float. Methods and datasets are cited by their keys in `references.bib`.
    """
    pieces = [(lines, part) for lines in _pages(table) for part in parts(table)]
    floats = "\n".join(_float(table, lines, part, k) for k, (lines, part) in enumerate(pieces))
    return f"% {provenance(table)}\n% needs \\usepackage{{booktabs}}\n{floats}% {END}\n"


def parts(table: Table) -> list[list[int]]:
    """The columns of each part, the first column in all of them; columns under a heading stay together if they fit."""
    first, *widths = (_width(table, k) for k in range(len(table.columns)))
    groups: list[list[int]] = []
    for k, column in enumerate(table.columns[1:], 1):
        together = k > 1 and column.group and column.group == table.columns[k - 1].group
        fits = groups and first + sum(widths[i - 1] for i in [*groups[-1], k]) <= WIDTH
        if together and fits:
            groups[-1].append(k)
        else:
            groups.append([k])
    found: list[list[int]] = [[]]
    for group in groups:
        if found[-1] and first + sum(widths[i - 1] for i in [*found[-1], *group]) > WIDTH:
            found.append([])
        found[-1] += group
    return [[0, *part] for part in found]


def _width(table: Table, k: int) -> float:
    """The width of a column in points, estimated from its letters."""
    column = table.columns[k]
    bold = 1.15 if any(line.cells[k].bold for line in table.lines) else 1.0
    words = [line.cells[k].text + "†" * line.cells[k].dagger for line in table.lines]
    cited = 4 * USUAL if any(line.cells[k].cite for line in table.lines) else 0
    widest = max(bold * max(map(_length, words)), *map(_length, _head(column))) + cited
    return (min(widest, LONGEST) if column.kind == "text" else widest) + 2 * GAP


def _length(text: str) -> float:
    narrow = sum(sign in " .,;:[]()'il|tfj-" for sign in text)
    broad = sum(sign.isupper() or sign in "mw%−×↑↓Δ" for sign in text)
    return NARROW * narrow + BROAD * broad + USUAL * (len(text) - narrow - broad)


def _head(column: Column) -> list[str]:
    """The name of a column in lines, broken between words where it is long."""
    words, lines = column.name.split(" "), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(longer) > 12:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _pages(table: Table) -> Iterator[list[Line]]:
    """The lines in pages; a block is split only if it is longer than one."""
    page: list[Line] = []
    for k, line in enumerate(table.lines):
        starts = k == 0 or line.block != table.lines[k - 1].block
        block = sum(other.block == line.block for other in table.lines[k:]) if starts else 0
        if page and (len(page) >= LINES or (starts and len(page) + min(block, LINES) > LINES)):
            yield page
            page = []
        page.append(line)
    yield page


def _float(table: Table, lines: Sequence[Line], part: Sequence[int], k: int) -> str:
    columns = [table.columns[place] for place in part]
    shape = "".join(_shape(table, place) for place in part)
    label = slug(f"{table.place} {table.name}") + (f"-{k + 1}" if k else "")
    cited = f"~\\cite{{{table.cite}}}" if table.cite else ""
    caption = latex(table.title) + cited + (" (continued)." if k else ".")
    if not k:
        caption = f"[{latex(table.title)}.]{{{' '.join([caption, *map(latex, table.notes)])}}}"
    else:
        caption = f"{{{caption}}}"
    out = [
        "\\begin{table}[tbp]", "\\centering", "\\setlength{\\belowcaptionskip}{4pt}",
        f"\\caption{caption}\\label{{tab:{label}}}",
        f"\\fontsize{{{POINTS}}}{{9.5}}\\selectfont", f"\\setlength{{\\tabcolsep}}{{{GAP:g}pt}}",
        f"\\begin{{tabular}}{{@{{}}{shape}@{{}}}}", "\\toprule",
    ]  # fmt: skip
    if any(column.group for column in columns):
        out += _group_heads(columns)
    out += [" & ".join(map(_latex_head, columns)) + " \\\\", "\\midrule"]
    block = None
    for line in lines:
        if line.block != block:
            if block is not None:
                out.append("\\addlinespace")
            block = line.block
            if block:
                out.append(f"\\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\\textit{{{latex(block)}}}}} \\\\")
        out.append(" & ".join(_latex_cell(line.cells[place]) for place in part) + " \\\\")
    return "\n".join([*out, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _shape(table: Table, k: int) -> str:
    if table.columns[k].kind != "text":
        return "r"
    return f"p{{{LONGEST:g}pt}}" if _width(table, k) >= LONGEST + 2 * GAP else "l"


def _latex_head(column: Column) -> str:
    lines = [latex(line) for line in _head(column)]
    side = "l" if column.kind == "text" else "r"
    stacked = " \\\\ ".join(lines)
    return f"\\shortstack[{side}]{{{stacked}}}" if len(lines) > 1 else stacked


def _group_heads(columns: Sequence[Column]) -> list[str]:
    """The line of headings that span columns, and the thin rules under them."""
    heads, rules, start = [], [], 0
    while start < len(columns):
        end = start
        while end < len(columns) and columns[end].group == columns[start].group:
            end += 1
        group = columns[start].group
        heads += [f"\\multicolumn{{{end - start}}}{{c}}{{{latex(group)}}}"] if group else [""] * (end - start)
        if group:
            rules.append(f"\\cmidrule(lr){{{start + 1}-{end}}}")
        start = end
    return [" & ".join(heads) + " \\\\", "".join(rules)]


def _latex_cell(cell: Cell) -> str:
    word, bracket, bounds = cell.text.partition(" [")
    text = latex(word)
    text = f"\\textbf{{{text}}}" if cell.bold else text
    text += f" {latex('[' + bounds)}" if bracket else ""
    return text + "$^\\dagger$" * cell.dagger + (f"~\\cite{{{cell.cite}}}" if cell.cite else "")


SIGNS = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "–": "--", "−": "$-$", "±": "$\\pm$", "×": "$\\times$", "↑": "$\\uparrow$", "↓": "$\\downarrow$",
    "Δ": "$\\Delta$", "†": "$^\\dagger$", "≥": "$\\geq$", "≤": "$\\leq$", "µ": "$\\mu$", "∞": "$\\infty$",
    "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(text: str) -> str:
    """The text with every sign written so that pdflatex prints it; scripts beyond its fonts by their code points."""
    return re.sub(r".", lambda found: _sign(found[0]), text, flags=re.DOTALL)


def _sign(sign: str) -> str:
    if sign in SIGNS or sign.isascii():
        return SIGNS.get(sign, sign)
    if ord(sign) < 0x180:  # letters of Latin alphabets, which LaTeX reads in UTF-8
        return sign
    plain = unicodedata.normalize("NFKD", sign)
    return plain if plain.isascii() else f"U+{ord(sign):04X}"
