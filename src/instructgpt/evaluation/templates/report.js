"use strict";
(() => {
  const bar = document.getElementById("filters");
  if (!bar) return;
  const examples = [...document.querySelectorAll(".example")];
  const controls = [...bar.querySelectorAll("[data-key]")];
  const shown = document.getElementById("shown");
  const texts = examples.map((example) => example.textContent.toLowerCase());
  const keeps = (example, index) =>
    controls.every((control) => {
      const key = control.dataset.key;
      if (key === "held") return !control.checked || example.dataset.held === "yes";
      if (!control.value) return true;
      if (key === "text") return texts[index].includes(control.value.toLowerCase());
      return example.dataset[key] === control.value;
    });
  const apply = () => {
    let count = 0;
    examples.forEach((example, index) => {
      example.hidden = !keeps(example, index);
      count += example.hidden ? 0 : 1;
    });
    shown.textContent = `${count} of ${examples.length}`;
  };
  bar.hidden = false;
  bar.addEventListener("input", apply);
  apply();
})();
