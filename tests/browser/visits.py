"""One visit of a page: what it asked for, what went wrong, and what is cut off."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

#: Elements that reach beyond the page, and are in no box that scrolls.
WIDER = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (e) =>
    e && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
  const wide = [...document.querySelectorAll(".bd-article *")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width && box.right > width + 1 && !scrolls(element.parentElement);
  });
  const named = wide.map((e) => `${e.tagName} ${e.className}: ${e.textContent.slice(0, 40)}`);
  const over = document.documentElement.scrollWidth - width;
  return over > 1 ? [`the page is ${over} px too wide`, ...named] : named;
}"""

#: Elements of which a part is out of sight.
CUT = """(what) => [...document.querySelectorAll(`.bd-article :is(${what})`)].filter((table) => {
  for (let box = table; box && !box.matches("article"); box = box.parentElement) {
    const clips = getComputedStyle(box).overflowX !== "visible";
    if (clips && box.scrollWidth > box.clientWidth + 1) return true;
  }
  return false;
}).map((table) => table.textContent.replace(/\\s+/g, " ").trim().slice(0, 60))"""


class Visit:
    """A loaded page."""

    def __init__(self, page: Any, url: str, home: str):
        self.page = page
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.bytes = 0
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", self._count)
        page.route("**/*", lambda route: self._let(route, home))
        page.goto(url)
        page.wait_for_load_state("networkidle")

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def _count(self, response: Any) -> None:
        self.bytes += int(response.headers.get("content-length", 0))

    def _let(self, route: Any, home: str) -> None:
        url = route.request.url
        if urlsplit(url).scheme in ("data", "blob") or url.startswith(f"{home}/"):
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()

    def wider(self) -> list[str]:
        """What reaches beyond the page."""
        return self.page.evaluate(WIDER)

    def cut(self, what: str = "table") -> list[str]:
        """The beginnings of tables, or of what else a selector names, that are cut off."""
        return self.page.evaluate(CUT, what)

    def unfold(self) -> None:
        """Open everything that is folded away."""
        self.page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")

    def print(self) -> None:
        """Lay the page out as on A4 with margins of a centimetre; no script hears of it."""
        self.page.evaluate(
            "window.addEventListener('resize', (e) => e.stopImmediatePropagation(), true);"
            "window.dispatchEvent(new Event('beforeprint'))"
        )
        self.page.emulate_media(media="print", color_scheme="light")
        self.page.set_viewport_size({"width": 718, "height": 1047})

    def violations(self, axe: str) -> list[str]:
        """What axe finds serious or worse, with the first element of each."""
        self.page.evaluate(axe)
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{rule['id']}: {len(rule['nodes'])}, such as {rule['nodes'][0]['html'][:160]}"
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
