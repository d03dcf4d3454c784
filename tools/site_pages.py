"""Puts the documents at the top of the repository into the site: a hook of mkdocs.yml."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")},
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds them, with links that lead to docs/ from there."""
    top = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        text = (top / source).read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files
