"""Reports: one self-contained page about lattices, catalogues of them, and designs."""

from polyad.materials.lattice.report.analysis import Analysis, analyse
from polyad.materials.lattice.report.page import report_html, write_report

__all__ = ["Analysis", "analyse", "report_html", "write_report"]
