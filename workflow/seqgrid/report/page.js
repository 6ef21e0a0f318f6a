// Tables sort by a click on a column's name: numbers by size, with units, else words.
"use strict";
(() => {
  const unit = { h: 3600, min: 60, s: 1, ms: 1e-3, GB: 1e9, MB: 1e6, kB: 1e3, B: 1 };
  const pattern = /^[\[(]?\s*([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?:\/([\d,]+))?\s*(h|min|ms|s|GB|MB|kB|B)?(?![\w.])/i;
  const value = (text) => {
    const found = pattern.exec(text);
    if (!found) return text === "-" || text === "" || text === "nan" ? null : text;
    const number = Number(found[1].replaceAll(",", ""));
    if (found[2]) return number / Math.max(1, Number(found[2].replaceAll(",", "")));
    return number * (unit[found[3]] ?? 1);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === typeof b) return a.localeCompare(b, "en", { numeric: true });
    return typeof a === "number" ? -1 : 1;
  };
  // Levels stand first and totals last, however a table is sorted.
  const place = (row) => {
    const first = row.cells[0].textContent.trim();
    return first.startsWith("(") ? -1 : first === "all" ? 1 : 0;
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) continue;
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      if (!button.textContent) button.setAttribute("aria-label", "name");
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const next = { ascending: "descending", descending: null }[before];
        const order = before ? next : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (!order) return body.append(...original);
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const keyed = original.map((row) => [row, value(row.cells[column].textContent.trim())]);
        keyed.sort(([a, x], [b, y]) => {
          if (place(a) !== place(b)) return place(a) - place(b);
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * compare(x, y);
        });
        body.append(...keyed.map(([row]) => row));
      });
    });
  }
})();
