"use strict";
// Filters the error browser. Without it the page shows every case and no filters.
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const cases = Array.from(document.querySelectorAll("#cases > article"));
  const count = document.getElementById("count");
  const choices = ["judge", "benchmark", "task", "group", "kind"];

  const fits = (one) =>
    choices.every((name) => !form.elements[name].value || one.dataset[name] === form.elements[name].value) &&
    (!form.elements.flipped.checked || one.dataset.flipped === "yes");

  const apply = () => {
    let shown = 0;
    for (const one of cases) {
      one.hidden = !fits(one);
      if (!one.hidden) shown += 1;
    }
    count.textContent = `${shown} of ${cases.length} judgments`;
  };

  // j and k go from case to case, only while one has the focus, so that typing elsewhere is never taken for a command.
  const move = (event) => {
    const step = { j: 1, k: -1 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    const visible = cases.filter((one) => !one.hidden);
    const next = visible[visible.indexOf(event.target.closest("article")) + step];
    if (next) next.focus();
  };

  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("cases").addEventListener("keydown", move);
  form.hidden = false;
  apply();
})();
