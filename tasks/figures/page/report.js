// Slice sliders and window presets. Without this script the worst slice of each case is shown in
// the soft tissue window.
"use strict";
for (const strip of document.querySelectorAll("[data-strip]")) {
  const slices = strip.querySelectorAll(".slice");
  const slider = strip.parentElement.querySelector("input[type=range]");
  const output = strip.parentElement.querySelector("output");
  const show = () => {
    slices.forEach((slice, number) => { slice.hidden = number !== Number(slider.value); });
    const label = slices[Number(slider.value)].dataset.label;
    output.textContent = label;
    slider.setAttribute("aria-valuetext", label);
  };
  slider.addEventListener("input", show);
  show();
}
for (const preset of document.querySelectorAll("input[name=window]")) {
  const choose = () => {
    if (preset.checked) document.documentElement.dataset.window = preset.value;
  };
  preset.addEventListener("change", choose);
  choose(); // a browser may restore the choice of the last visit
}
// Folded parts are printed, not lost.
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not(.screen-only)")) part.open = true;
});
