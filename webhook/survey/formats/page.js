
"use strict";
// Tables with the class "data" sort by their headings and filter by the controls in front of them.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const tools = document.querySelector(`[data-for="${table.id}"]`);

  table.querySelectorAll("th button").forEach((button) => {
    const heading = button.parentElement;
    const column = heading.cellIndex;
    const numeric = heading.classList.contains("n");
    const value = (row) => {
      const cell = row.cells[column];
      return numeric ? Number(cell.dataset.value) : cell.textContent.trim().toLowerCase();
    };
    button.addEventListener("click", () => {
      const was = heading.getAttribute("aria-sort");
      // Numbers are looked at from the top first.
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const now = was === first ? second : first;
      for (const other of heading.parentElement.cells) {
        other.setAttribute("aria-sort", other === heading ? now : "none");
      }
      const sign = now === "ascending" ? 1 : -1;
      const sorted = rows.map((row) => [value(row), row]);
      sorted.sort(([a], [b]) => sign * (numeric ? a - b : a < b ? -1 : a > b ? 1 : 0));
      body.append(...sorted.map(([, row]) => row));
    });
  });

  if (!tools) continue;
  const output = tools.querySelector("output");
  const show = () => {
    const words = tools.querySelector("input").value.toLowerCase().split(/\s+/);
    const choices = Array.from(tools.querySelectorAll("select")).filter((s) => s.value);
    let shown = 0;
    rows.forEach((row, index) => {
      const fits = words.every((word) => texts[index].includes(word))
        && choices.every((s) => row.dataset[s.name] === s.value);
      row.hidden = !fits;
      shown += fits;
    });
    output.textContent = shown === rows.length
      ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  };
  tools.addEventListener("input", show);
  show();
}
