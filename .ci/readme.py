"""The description of a release: README.md, whose links lead to the repository as it was at that release."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)]+)\)")


def absolute(markdown: str, source: str, version: str) -> str:
    """Return the text with links from the root of the repository made complete."""

    def complete(link: re.Match[str]) -> str:
        kind = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({source}/{kind}/v{version}/{link['path']})"

    return LINK.sub(complete, markdown)


class Readme(MetadataHookInterface):
    """Tells the build backend the description."""

    def update(self, metadata: dict[str, Any]) -> None:
        markdown = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = absolute(markdown, metadata["urls"]["Source"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
