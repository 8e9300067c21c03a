"use strict";
// Volumes are (z, y, x) in LPS: x grows to the patient's left, y to the back, z to the head.
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const [NZ, NY, NX] = data.shape, [SZ, SY, SX] = data.spacing;
const PLANES = {
  // axis of the slices; columns and rows as [axis, size, spacing, flipped]; letters at the edges
  axial: { axis: 0, columns: [2, NX, SX, false], rows: [1, NY, SY, false], edges: ["R", "L", "A", "P"] },
  coronal: { axis: 1, columns: [2, NX, SX, false], rows: [0, NZ, SZ, true], edges: ["R", "L", "H", "F"] },
  sagittal: { axis: 2, columns: [1, NY, SY, false], rows: [0, NZ, SZ, true], edges: ["A", "P", "H", "F"] },
};
const NAMES = { source: "source", ct: "CT", sct: "synthetic CT", difference: "synthetic CT − CT" };
const STRIDE = [NY * NX, NX, 1];
const position = data.start.slice();
const volumes = {};
let mask, panels = [];

async function unpacked(text, type) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new type(await new Response(stream).arrayBuffer());
}

function window_() {
  const level = Number(at("level").value), width = Math.max(1, Number(at("width").value));
  return [level - width / 2, level + width / 2];
}

function sourceWindow() {
  const [low, high] = volumes.source.limits, scale = 2 ** (-Number(at("brightness").value) / 50);
  return [low, low + Math.max(1e-9, (high - low) * scale)];
}

const limitHu = () => Math.max(1, Number(at("limit")?.value ?? 200));

function value(name, index) {
  const volume = volumes[name];
  return volume.codes[index] * volume.scale + volume.offset;
}

function grey(name, index, [low, high]) {
  return Math.max(0, Math.min(255, (value(name, index) - low) / (high - low) * 255));
}

// Index of the voxel at column c and row r of the slice through the position.
function voxels(plane) {
  const { axis, columns, rows } = PLANES[plane];
  const [ca, cn] = columns, [ra, rn, , flipped] = rows, base = position[axis] * STRIDE[axis];
  return (c, r) => base + c * STRIDE[ca] + (flipped ? rn - 1 - r : r) * STRIDE[ra];
}

function picture(plane, name) {
  const { columns: [, width], rows: [, height] } = PLANES[plane];
  const image = new ImageData(width, height), index = voxels(plane);
  const ctWindow = window_(), limits = name === "source" ? sourceWindow() : ctWindow, most = limitHu();
  for (let r = 0, o = 0; r < height; r++) {
    for (let c = 0; c < width; c++, o += 4) {
      const i = index(c, r);
      const shade = grey(name === "difference" ? "ct" : name, i, limits);
      let red = shade, green = shade, blue = shade;
      if (name === "difference" && mask[i]) {
        const share = (value("sct", i) - value("ct", i)) / most, part = Math.min(1, Math.abs(share));
        const colour = share > 0 ? [255, 90, 60] : [47, 143, 255], rest = (1 - part) * 0.6;
        [red, green, blue] = [red * rest + colour[0] * part, green * rest + colour[1] * part, blue * rest + colour[2] * part];
      }
      image.data[o] = red; image.data[o + 1] = green; image.data[o + 2] = blue; image.data[o + 3] = 255;
    }
  }
  return image;
}

// Edges between voxels inside and outside, as a path in canvas pixels.
function outline(context, plane, inside, dx, dy) {
  const { columns: [, width], rows: [, height] } = PLANES[plane], index = voxels(plane);
  context.beginPath();
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      const here = inside(index(c, r));
      if (c + 1 < width && here !== inside(index(c + 1, r))) {
        context.moveTo((c + 1) * dx, r * dy); context.lineTo((c + 1) * dx, (r + 1) * dy);
      }
      if (r + 1 < height && here !== inside(index(c, r + 1))) {
        context.moveTo(c * dx, (r + 1) * dy); context.lineTo((c + 1) * dx, (r + 1) * dy);
      }
    }
  }
  context.stroke();
}

function draw({ canvas, plane, name }) {
  const { axis, columns, rows, edges } = PLANES[plane];
  const [ca, cn, cs] = columns, [ra, rn, rs, flipped] = rows;
  const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  const height = Math.max(1, Math.round(width * (rn * rs) / (cn * cs)));
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d"), small = document.createElement("canvas");
  small.width = cn; small.height = rn;
  small.getContext("2d").putImageData(picture(plane, name), 0, 0);
  context.drawImage(small, 0, 0, width, height);
  const dx = width / cn, dy = height / rn;
  context.lineWidth = devicePixelRatio;
  if (at("body").checked) { context.strokeStyle = "#7ee081"; outline(context, plane, i => mask[i] > 0, dx, dy); }
  if (at("bone").checked && volumes.ct) {
    const hu = Number(at("bone-hu").value);
    context.strokeStyle = "#ffd23f";
    outline(context, plane, i => volumes.ct.codes[i] > hu, dx, dy);
  }
  if (at("cross").checked) {
    const x = (position[ca] + 0.5) * dx, row = flipped ? rn - 1 - position[ra] : position[ra], y = (row + 0.5) * dy;
    const gap = 8 * devicePixelRatio;
    context.strokeStyle = "#ffffff90";
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(x0, y0); context.lineTo(x1, y1);
    }
    context.stroke();
  }
  context.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  context.fillStyle = "#c9d3dd";
  const m = 4 * devicePixelRatio;
  for (const [text, x, y, align, base] of [[edges[0], m, height / 2, "left", "middle"], [edges[1], width - m, height / 2, "right", "middle"],
    [edges[2], width / 2, m, "center", "top"], [edges[3], width / 2, height - m, "center", "bottom"]]) {
    context.textAlign = align; context.textBaseline = base; context.fillText(text, x, y);
  }
}

function millimetres(axis) {
  return data.origin[axis] + position[axis] * data.spacing[axis];
}

// What black and white mean and what is drawn, also on paper, where the controls are not.
function windows() {
  const from = ([low, high]) => `${low.toFixed(0)} to ${high.toFixed(0)}`, said = [];
  if (volumes.source) said.push(`source ${from(sourceWindow())}`);
  if (volumes.ct || volumes.sct) said.push(`CT ${from(window_())} HU`);
  if (volumes.ct && at("bone").checked) said.push(`yellow: CT above ${Number(at("bone-hu").value)} HU`);
  if (data.masked && at("body").checked) said.push("green: body");
  return said;
}

function tell() {
  const i = position[0] * STRIDE[0] + position[1] * STRIDE[1] + position[2];
  const place = [2, 1, 0].map(axis => `${"zyx"[axis]} ${millimetres(axis).toFixed(1)}`).join(", ");
  const values = ["source", "ct", "sct"].filter(name => volumes[name])
    .map(name => `${NAMES[name]} ${value(name, i).toFixed(0)}${name === "source" ? "" : " HU"}`);
  if (volumes.ct && volumes.sct) values.push(`difference ${(value("sct", i) - value("ct", i)).toFixed(0)} HU`);
  at("readout").textContent = `${place} mm (LPS): ${values.join(" · ")}`;
  at("shown").textContent = windows().join(" · ");
  for (const slider of document.querySelectorAll("[data-slice]")) {
    const axis = PLANES[slider.dataset.slice].axis;
    slider.value = position[axis];
    slider.nextElementSibling.textContent = `${position[axis] + 1} of ${data.shape[axis]}`;
    slider.setAttribute("aria-valuetext", `slice ${position[axis] + 1} of ${data.shape[axis]}`);
  }
}

let waiting = false;
function show() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; tell(); panels.forEach(draw); });
}

function move(axis, to) {
  position[axis] = Math.max(0, Math.min(data.shape[axis] - 1, to));
  show();
}

function lay() {
  const chosen = at("planes").value, planes = chosen === "all" ? Object.keys(PLANES) : [chosen];
  const names = ["source", "ct", "sct"].filter(name => volumes[name]);
  if (volumes.ct && volumes.sct) names.push("difference");
  at("panels").style.setProperty("--columns", planes.length > 1 ? names.length : Math.min(2, names.length));
  at("panels").replaceChildren();
  panels = [];
  for (const plane of planes) {
    for (const name of names) {
      const figure = document.createElement("figure"), canvas = document.createElement("canvas");
      const caption = document.createElement("figcaption");
      caption.textContent = `${NAMES[name]}, ${plane}`;
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", caption.textContent);
      const { axis, columns: [ca, cn], rows: [ra, rn, , flipped] } = PLANES[plane];
      const go = event => {
        const box = canvas.getBoundingClientRect();
        const c = Math.floor((event.clientX - box.left) / box.width * cn), r = Math.floor((event.clientY - box.top) / box.height * rn);
        move(ca, c);
        move(ra, flipped ? rn - 1 - r : r);
      };
      canvas.addEventListener("pointerdown", go);
      canvas.addEventListener("pointermove", event => event.buttons && go(event));
      canvas.addEventListener("wheel", event => { event.preventDefault(); move(axis, position[axis] - Math.sign(event.deltaY)); }, { passive: false });
      canvas.addEventListener("keydown", event => {
        const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
        if (step) { event.preventDefault(); move(axis, position[axis] + step); }
      });
      figure.append(canvas, caption);
      at("panels").append(figure);
      panels.push({ canvas, plane, name });
    }
  }
  show();
}

function choose() {
  if (at("window").value === "") return show();
  const [low, high] = at("window").value.split(" ").map(Number);
  at("level").value = (low + high) / 2;
  at("width").value = high - low;
  show();
}

async function begin() {
  for (const [name, packed] of Object.entries(data.volumes)) {
    volumes[name] = { ...packed, codes: await unpacked(packed.codes, Int16Array) };
  }
  mask = await unpacked(data.mask, Uint8Array);
  for (const slider of document.querySelectorAll("[data-slice]")) {
    const axis = PLANES[slider.dataset.slice].axis;
    slider.max = data.shape[axis] - 1;
    slider.addEventListener("input", () => move(axis, Number(slider.value)));
  }
  at("brightness-label").hidden = !volumes.source;
  at("body").parentElement.hidden = !data.masked;
  at("bone").parentElement.hidden = !volumes.ct;
  const narrow = innerWidth < 900;
  at("planes").value = narrow ? "axial" : "all";
  at("display").open = !narrow;
  at("planes").addEventListener("input", lay);
  at("window").addEventListener("input", choose);
  for (const id of ["level", "width"]) at(id).addEventListener("input", () => { at("window").value = ""; show(); });
  for (const id of ["brightness", "body", "bone", "bone-hu", "cross"]) at(id).addEventListener("input", show);
  at("limit")?.addEventListener("input", () => {
    document.querySelectorAll(".limit").forEach(each => { each.textContent = limitHu(); });
    show();
  });
  addEventListener("resize", show);
  document.querySelector("form").addEventListener("submit", event => event.preventDefault());
  choose();
  lay();
}

begin().catch(error => { at("readout").textContent = `The volumes cannot be shown: ${error}. A browser of 2023 or newer is needed.`; });
