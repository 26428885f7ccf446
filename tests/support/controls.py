"""The form of a page as a browser without JavaScript has it: which fields it would send, and what stands at each."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Controls(HTMLParser):
    """`fields`: what is sent, by name. `attributes`: those of each control. `texts`: what elements with an id say."""

    page: str
    form: str = "task-form"
    fields: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    buttons: list[tuple[str | None, str | None]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    _inside: bool = False
    _select: str = ""
    _said: list[str] = field(default_factory=list)
    _open: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self._inside = found.get("id") == self.form
        if found.get("id") and tag not in {"input", "select"}:
            self._open.append((tag, found["id"] or ""))
            self._said = []
        if not self._inside:
            return
        name, value = found.get("name") or "", found.get("value") or ""
        if tag == "button":
            self.buttons.append((found.get("name"), found.get("value")))
        elif tag in {"input", "select", "textarea", "fieldset"}:
            self.attributes.setdefault(name or (found.get("id") or "").removeprefix("field-"), found)
        if tag == "input" and (found.get("type") not in {"radio", "checkbox"} or "checked" in found):
            self.fields[name] = value
        elif tag == "select":
            self._select = name
        elif tag == "option" and ("selected" in found or self._select not in self.fields):
            self.fields[self._select] = value

    def handle_data(self, data: str) -> None:
        self._said.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self.texts[self._open.pop()[1]] = said = "".join(self._said)
            if tag == "textarea" and self._inside:
                name = next(reversed(self.attributes))
                self.fields[name] = said.removeprefix("\n")  # as parsers of HTML do
        if tag == "form":
            self._inside = False

    def focus(self) -> list[str]:
        """The controls that want the focus: one."""
        return [name for name, found in self.attributes.items() if "autofocus" in found]

    def said_at(self, name: str) -> str:
        """What describes a control that is marked as wrong."""
        found: dict[str, Any] = self.attributes[name]
        assert found.get("aria-invalid") == "true", found
        return " ".join(self.texts[each] for each in found["aria-describedby"].split())
