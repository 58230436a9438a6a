"use strict";
// Tables sort by the column whose head is clicked, lines are filtered by words, and a link to a run unfolds it.

for (const table of document.querySelectorAll("table.ranking")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sort(table, column)));
}

function sort(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const numbers = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : numbers && column > 0;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => (numbers ? Number(a) - Number(b) : a.localeCompare(b));
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
    return descending ? compare(b, a) : compare(a, b);
  });
  table.tBodies[0].append(...rows);
}

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const section of document.querySelectorAll("section")) {
    const title = section.querySelector("h2").textContent;
    for (const row of section.querySelectorAll("tbody tr")) {
      const text = `${title} ${row.textContent}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    section.hidden = !section.querySelector("tbody tr:not([hidden])");
  }
});

function unfold() {
  const run = document.getElementById(location.hash.slice(1));
  if (run instanceof HTMLDetailsElement) {
    run.open = true;
    run.scrollIntoView();
  }
}

addEventListener("hashchange", unfold);
unfold();
