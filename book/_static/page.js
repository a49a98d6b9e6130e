// Tables that are wider than their place: set smaller, and where that is not enough, as one block a
// row, with the column's name beside each value.
(() => {
  const tables = () => [...document.querySelectorAll(".bd-article table:not(.live-readings)")];

  /** The nearest box around a table that would cut it off. */
  function frame(table) {
    let box = table.parentElement;
    while (box.parentElement && getComputedStyle(box).overflowX === "visible" && !box.matches("article")) {
      box = box.parentElement;
    }
    return box;
  }

  /** Each column's name; levels of a heading are joined. */
  function columns(table) {
    const names = [];
    for (const row of table.tHead ? table.tHead.rows : []) {
      let place = 0;
      for (const cell of row.cells) {
        for (let k = 0; k < cell.colSpan; k++, place++) {
          const text = cell.textContent.trim();
          if (text && text !== names[place]) names[place] = names[place] ? `${names[place]}, ${text}` : text;
          names[place] ??= "";
        }
      }
    }
    return names;
  }

  function name(table) {
    const names = columns(table);
    for (const body of table.tBodies) {
      for (const row of body.rows) {
        // From the right: a heading that spans rows is missing at the left of all but the first.
        [...row.cells].forEach((cell, k) => {
          if (cell.tagName === "TD") cell.dataset.column = names[names.length - row.cells.length + k] || "";
        });
      }
    }
  }

  function fit(table) {
    table.classList.remove("tight", "stacked");
    const box = frame(table);
    const cut = () => box.scrollWidth > box.clientWidth + 1;
    if (!cut()) return;
    table.classList.add("tight");
    if (!cut()) return;
    name(table);
    table.classList.add("stacked");
  }

  let width = 0;
  function fitAll() {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    tables().forEach(fit);
  }

  // What is folded away on the screen is printed.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll(".bd-article details:not([open])")];
    folded.forEach((box) => (box.open = true));
  });
  window.addEventListener("afterprint", () => folded.forEach((box) => (box.open = false)));

  window.addEventListener("load", fitAll);
  window.addEventListener("resize", fitAll);
  // A closed box has no width: its tables are looked at when it opens.
  document.addEventListener("toggle", (event) => event.target.querySelectorAll("table").forEach(fit), true);
  document.addEventListener("click", (event) => {
    if (event.target.closest(".toggle-button, .admonition-title")) setTimeout(() => tables().forEach(fit), 400);
  });
})();
