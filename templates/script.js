"use strict";
// Sorting of tables, and opening of a folded part that a link points into. The page is complete without it.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const first = column === 0 ? "ascending" : "descending";
      const again = heading.getAttribute("aria-sort") === first;
      const order = again ? (first === "ascending" ? "descending" : "ascending") : first;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        if (!cell || row.classList.contains("untrained")) return null;
        if (cell.dataset.sort === undefined) return cell.textContent.trim();
        return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
      };
      const rows = Array.from(body.rows, (row) => ({ row, key: key(row) }));
      rows.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
        if (typeof a.key === "string") return sign * a.key.localeCompare(b.key);
        return sign * (a.key - b.key);
      });
      body.append(...rows.map((entry) => entry.row));
    });
  });
}
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
};
window.addEventListener("hashchange", reveal);
if (location.hash) reveal();
