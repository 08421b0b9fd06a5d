"use strict";
// Draws the graph of the block "data" on the canvas. A part of the address chooses what is shown:
// #find=TEXT&hide=up,missing&zoom=3
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const canvas = byId("picture"), pen = canvas.getContext("2d");
const UNIT = 100; // pixels between two neighbours at a zoom of 1
const vertices = data.vertices.map(([x, y, name, shape, state, details], number) =>
  ({number, x: x * UNIT, y: y * UNIT, name, shape, state, details, edges: [], type: "vertex"}));
const edges = data.edges.map(([a, b, bend, from, to, kind, state, details]) => {
  const edge = {a: vertices[a], b: vertices[b], bend, from, to, kind, state, details, type: "edge"};
  edge.a.edges.push(edge);
  if (a !== b) edge.b.edges.push(edge);
  const side = (one, label) => label ? one.name + ":" + label : one.name;
  edge.sides = [side(edge.a, from), side(edge.b, to)];
  edge.name = edge.sides.join(" -- ");
  return edge;
});
const order = [...vertices].sort((one, other) => other.edges.length - one.edges.length || one.number - other.number);
const hidden = new Set();
let zoom = 1, left = 0, top_ = 0, chosen = null, hits = new Set(), waiting = false;

const shown = (thing) => !hidden.has(thing.state) || (thing.shape === "node");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const onX = (x) => (x - left) * zoom, onY = (y) => (y - top_) * zoom;

function redraw() {
  if (!waiting) { waiting = true; requestAnimationFrame(draw); }
}

// ---- drawing

function control(edge) { // the control point of a bent edge, in the picture
  const {a, b} = edge, length = Math.hypot(b.x - a.x, b.y - a.y) || 1, by = edge.bend * 12;
  return [(a.x + b.x) / 2 - (b.y - a.y) / length * by, (a.y + b.y) / 2 + (b.x - a.x) / length * by];
}

function loopPoints(edge) {
  const angle = -Math.PI / 2 + edge.bend * 0.9;
  return [-0.5, 0.5].map((turn) =>
    [edge.a.x + Math.cos(angle + turn) * 50, edge.a.y + Math.sin(angle + turn) * 50]);
}

function trace(edge) {
  pen.moveTo(onX(edge.a.x), onY(edge.a.y));
  if (edge.a === edge.b) {
    const [one, other] = loopPoints(edge);
    pen.bezierCurveTo(onX(one[0]), onY(one[1]), onX(other[0]), onY(other[1]), onX(edge.b.x), onY(edge.b.y));
  } else if (edge.bend) {
    const [x, y] = control(edge);
    pen.quadraticCurveTo(onX(x), onY(y), onX(edge.b.x), onY(edge.b.y));
  } else pen.lineTo(onX(edge.b.x), onY(edge.b.y));
}

function strokeEdges(some, style, width, dashes) {
  pen.beginPath();
  some.forEach(trace);
  pen.strokeStyle = style;
  pen.lineWidth = width;
  pen.setLineDash(dashes);
  pen.stroke();
  pen.setLineDash([]);
}

function inside(x, y, margin) {
  return x > -margin && y > -margin && x < innerWidth + margin && y < innerHeight + margin;
}

class Room { // boxes that do not overlap
  constructor() { this.cells = new Map(); }
  take(x, y, width, height) {
    const box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2], keys = [];
    for (let column = Math.floor(box[0] / 80); column <= box[2] / 80; column++)
      for (let row = Math.floor(box[1] / 80); row <= box[3] / 80; row++) keys.push(column + "," + row);
    for (const key of keys)
      for (const one of this.cells.get(key) || [])
        if (one[0] < box[2] && box[0] < one[2] && one[1] < box[3] && box[1] < one[3]) return false;
    for (const key of keys) {
      if (!this.cells.has(key)) this.cells.set(key, []);
      this.cells.get(key).push(box);
    }
    return true;
  }
}

const short = (text) => text.length > 24 ? text.slice(0, 23) + "\u2026" : text;

function draw() {
  waiting = false;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(innerWidth * ratio) || canvas.height !== Math.round(innerHeight * ratio)) {
    canvas.width = Math.round(innerWidth * ratio);
    canvas.height = Math.round(innerHeight * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colour("--paper");
  pen.fillRect(0, 0, innerWidth, innerHeight);
  const width = Math.max(0.6, Math.min(2, zoom * 2.5));
  const searching = hits.size > 0;
  for (const state of Object.keys(data.states).reverse()) {
    if (hidden.has(state)) continue;
    const {colour: line, dashes} = data.states[state];
    const some = edges.filter((edge) => edge.state === state);
    pen.globalAlpha = searching ? 0.3 : 1;
    strokeEdges(some, line, state === "up" ? width : width * 1.4, zoom > 0.25 ? dashes : []);
    pen.globalAlpha = 1;
    if (searching) strokeEdges(some.filter((edge) => hits.has(edge)), line, width + 2, dashes);
  }
  if (chosen) {
    const some = chosen.type === "edge" ? [chosen] : chosen.edges.filter(shown);
    strokeEdges(some, colour("--mark"), width + 2, []);
  }
  drawVertices(searching);
}

function drawVertices(searching) {
  const style = Object.fromEntries(["--node", "--rim", "--lan", "--lanrim", "--paper", "--ink", "--soft", "--mark"]
    .map((name) => [name.slice(2), colour(name)]));
  const room = new Room(), view = order.filter((one) => shown(one) && inside(onX(one.x), onY(one.y), 80));
  const first = view.filter((one) => one === chosen || hits.has(one));
  const size = Math.max(2, Math.min(5, zoom * 7));
  const named = new Map();
  pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  if (zoom > 0.12 || view.length < 400) {
    for (const one of [...first, ...view]) {
      if (named.has(one) || named.size > 600) continue;
      const wide = pen.measureText(short(one.name)).width + 14;
      if (room.take(onX(one.x), onY(one.y), wide + 4, 22)) named.set(one, wide);
    }
  }
  for (const one of [...view].reverse()) {
    const x = onX(one.x), y = onY(one.y), wide = named.get(one), state = data.states[one.state];
    pen.globalAlpha = searching && !hits.has(one) && !wide ? 0.4 : 1;
    pen.beginPath();
    if (wide) pen.roundRect(x - wide / 2, y - 10, wide, 20, one.shape === "lan" ? 3 : one.shape === "far" ? 10 : 6);
    else pen.arc(x, y, size, 0, 7);
    pen.fillStyle = one.shape === "far" ? style.paper : one.shape === "lan" ? style.lan : style.node;
    pen.fill();
    const marked = one === chosen || hits.has(one);
    pen.strokeStyle = marked ? style.mark : state ? state.colour : one.shape === "lan" ? style.lanrim : style.rim;
    pen.lineWidth = marked ? 3 : state ? 2 : 1;
    if (one.state === "extra") pen.setLineDash([5, 3]);
    pen.stroke();
    pen.setLineDash([]);
    if (wide) {
      pen.fillStyle = style.ink;
      pen.fillText(short(one.name), x, y + 0.5);
    }
    pen.globalAlpha = 1;
  }
  const interfaces = zoom > 0.5 ? drawInterfaces(room, style, named) : 0;
  document.body.dataset.labels = named.size;
  document.body.dataset.interfaces = interfaces;
}

function drawInterfaces(room, style, named) {
  let number = 0;
  pen.font = "10px system-ui, 'DejaVu Sans', sans-serif";
  for (const edge of edges) {
    if (edge.a === edge.b || !shown(edge)) continue;
    const length = Math.hypot(edge.b.x - edge.a.x, edge.b.y - edge.a.y) * zoom;
    if (length < 60 || number > 600) continue;
    const [cx, cy] = control(edge);
    for (const [near, far, text] of [[edge.a, edge.b, edge.from], [edge.b, edge.a, edge.to]]) {
      if (!text) continue;
      const wide = pen.measureText(text).width, along = Math.abs(far.x - near.x) * zoom / length;
      const across = Math.abs(far.y - near.y) * zoom / length, half = ((named.get(near) || 8) + wide) / 2 + 4;
      const share = Math.min(along ? half / along : Infinity, across ? 20 / across : Infinity) / length;
      if (share > 0.46) continue;
      const x = onX((1 - share) ** 2 * near.x + 2 * share * (1 - share) * cx + share ** 2 * far.x);
      const y = onY((1 - share) ** 2 * near.y + 2 * share * (1 - share) * cy + share ** 2 * far.y);
      if (!inside(x, y, 40) || !room.take(x, y, wide + 2, 12)) continue;
      pen.lineWidth = 3;
      pen.strokeStyle = style.paper;
      pen.strokeText(text, x, y);
      pen.fillStyle = style.soft;
      pen.fillText(text, x, y);
      number++;
    }
  }
  return number;
}

// ---- moving

function fit() {
  if (!vertices.length) return redraw();
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const {x, y} of vertices) {
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x); box[3] = Math.max(box[3], y);
  }
  const panel = innerWidth > 700 ? 310 : 0; // the header is beside the picture
  zoom = Math.min((innerWidth - panel - 80) / (box[2] - box[0] || 1), (innerHeight - 80) / (box[3] - box[1] || 1), 1.6);
  left = (box[0] + box[2]) / 2 - (innerWidth + panel) / 2 / zoom;
  top_ = (box[1] + box[3]) / 2 - innerHeight / 2 / zoom;
  redraw();
}

function zoomAt(x, y, factor) {
  const before = zoom;
  zoom = Math.min(12, Math.max(0.005, zoom * factor));
  left += x / before - x / zoom;
  top_ += y / before - y / zoom;
  redraw();
}

function show(thing) {
  const x = thing.type === "edge" ? (thing.a.x + thing.b.x) / 2 : thing.x;
  const y = thing.type === "edge" ? (thing.a.y + thing.b.y) / 2 : thing.y;
  zoom = Math.max(zoom, 1);
  left = x - innerWidth / 2 / zoom;
  top_ = y - innerHeight / 2 / zoom;
  choose(thing);
}

function near(x, y) { // the vertex or the edge at a point of the screen
  let best = null, least = 14;
  for (const one of vertices) {
    const away = Math.hypot(onX(one.x) - x, onY(one.y) - y);
    if (shown(one) && away < least) { best = one; least = away; }
  }
  if (best) return best;
  least = 7;
  for (const edge of edges) {
    if (!shown(edge)) continue;
    const away = distance(edge, x, y);
    if (away < least) { best = edge; least = away; }
  }
  return best;
}

function distance(edge, x, y) {
  const points = [];
  for (let step = 0; step <= (edge.bend || edge.a === edge.b ? 12 : 1); step++) {
    const t = edge.bend || edge.a === edge.b ? step / 12 : step, u = 1 - t;
    if (edge.a === edge.b) {
      const [one, other] = loopPoints(edge);
      points.push([0, 1].map((n) => (u ** 3 + t ** 3) * [edge.a.x, edge.a.y][n] + 3 * u * u * t * one[n] + 3 * u * t * t * other[n]));
    } else {
      const middle = control(edge);
      points.push([0, 1].map((n) => u * u * [edge.a.x, edge.a.y][n] + 2 * u * t * middle[n] + t * t * [edge.b.x, edge.b.y][n]));
    }
  }
  let least = Infinity;
  for (let at = 1; at < points.length; at++) {
    const [ax, ay] = [onX(points[at - 1][0]), onY(points[at - 1][1])], [bx, by] = [onX(points[at][0]), onY(points[at][1])];
    const square = (bx - ax) ** 2 + (by - ay) ** 2 || 1;
    const share = Math.max(0, Math.min(1, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / square));
    least = Math.min(least, Math.hypot(ax + share * (bx - ax) - x, ay + share * (by - ay) - y));
  }
  return least;
}

// ---- panels

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function entry(list, thing) {
  const button = element("button", thing.name, element("li", undefined, list));
  if (data.states[thing.state]) button.title = data.states[thing.state].title;
  button.addEventListener("click", () => show(thing));
}

function choose(thing) {
  chosen = thing;
  const panel = byId("details");
  panel.hidden = !thing;
  panel.replaceChildren();
  if (thing) {
    element("h2", thing.name, panel);
    const close = element("button", "\u00d7", panel);
    close.id = "close";
    close.title = "Close (Escape)";
    close.addEventListener("click", () => choose(null));
    const rows = element("dl", undefined, panel);
    const state = data.states[thing.state];
    const kind = thing.type === "edge" ? thing.kind : {lan: "LAN", far: "far side of a link", node: ""}[thing.shape];
    for (const [what, value] of [["type", kind], ["state", state && state.title], ...thing.details]) {
      if (!value) continue;
      element("dt", what, rows);
      element("dd", value, rows);
    }
    if (thing.type === "vertex") {
      const list = element("ul", undefined, panel);
      thing.edges.slice(0, 500).forEach((edge) => entry(list, edge));
      if (thing.edges.length > 500) element("li", `and ${thing.edges.length - 500} more links`, list).className = "note";
    }
  }
  redraw();
}

function find() {
  const text = byId("find").value.trim().toLowerCase(), list = byId("found");
  const has = (thing) => thing.name.toLowerCase().includes(text) ||
    thing.details.some(([what, value]) => `${what} ${value}`.toLowerCase().includes(text));
  const found = text ? [...vertices, ...edges].filter((thing) => shown(thing) && has(thing)) : [];
  // What has this name, or an end of it, comes first, then what begins with it.
  const rank = ({name, sides}) => [name, ...(sides || [])].some((one) => one.toLowerCase() === text) ? 0
    : name.toLowerCase().startsWith(text) ? 1 : 2;
  found.sort((one, other) => rank(one) - rank(other));
  hits = new Set(found);
  list.replaceChildren();
  found.slice(0, 50).forEach((thing) => entry(list, thing));
  if (found.length > 50) element("li", `and ${found.length - 50} more`, list).className = "note";
  if (text && !found.length) element("li", "nothing found", list).className = "note";
  redraw();
  return found;
}

function filters() {
  for (const [state, number] of Object.entries(data.counts)) {
    const label = element("label", undefined, byId("states")), box = element("input", undefined, label);
    box.type = "checkbox";
    box.name = state;
    box.checked = !hidden.has(state);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(state); else hidden.add(state);
      find();
    });
    const {title, colour: line, dashes} = data.states[state];
    const space = "http://www.w3.org/2000/svg", sample = document.createElementNS(space, "svg");
    sample.setAttribute("width", 28); sample.setAttribute("height", 8);
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", "M0 4h28"); path.setAttribute("stroke", line); path.setAttribute("stroke-width", 2.5);
    path.setAttribute("stroke-dasharray", dashes.join(" "));
    sample.append(path);
    label.append(sample, title);
    element("b", number.toLocaleString("en"), label);
  }
}

let grabbed = null;
canvas.addEventListener("pointerdown", (event) => {
  grabbed = {x: event.clientX, y: event.clientY, moved: false};
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!grabbed) {
    const thing = edges.length < 20000 ? near(event.clientX, event.clientY) : null;
    canvas.title = thing ? thing.name : "";
    canvas.style.cursor = thing ? "pointer" : "grab";
    return;
  }
  const dx = event.clientX - grabbed.x, dy = event.clientY - grabbed.y;
  if (!grabbed.moved && Math.hypot(dx, dy) < 4) return;
  left -= dx / zoom;
  top_ -= dy / zoom;
  grabbed = {x: event.clientX, y: event.clientY, moved: true};
  redraw();
});
canvas.addEventListener("pointerup", (event) => {
  if (grabbed && !grabbed.moved) choose(near(event.clientX, event.clientY));
  grabbed = null;
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(event.clientX, event.clientY, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
}, {passive: false});
canvas.addEventListener("dblclick", (event) => zoomAt(event.clientX, event.clientY, 2));
byId("in").addEventListener("click", () => zoomAt(innerWidth / 2, innerHeight / 2, 1.5));
byId("out").addEventListener("click", () => zoomAt(innerWidth / 2, innerHeight / 2, 1 / 1.5));
byId("fit").addEventListener("click", fit);
byId("find").addEventListener("input", find);
byId("find").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && hits.size) show([...hits][0]);
});
byId("states").addEventListener("submit", (event) => event.preventDefault());
addEventListener("keydown", (event) => {
  if (event.key === "Escape") { byId("find").value = ""; choose(null); find(); canvas.focus(); return; }
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = {ArrowLeft: [-80, 0], ArrowRight: [80, 0], ArrowUp: [0, -80], ArrowDown: [0, 80]};
  if (event.key === "/") { event.preventDefault(); byId("find").focus(); }
  else if (event.key === "+" || event.key === "=") zoomAt(innerWidth / 2, innerHeight / 2, 1.5);
  else if (event.key === "-") zoomAt(innerWidth / 2, innerHeight / 2, 1 / 1.5);
  else if (event.key === "0") fit();
  else if (moves[event.key] && event.target === canvas) {
    left += moves[event.key][0] / zoom;
    top_ += moves[event.key][1] / zoom;
    redraw();
  }
});
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// ---- the part of the address

const wanted = new URLSearchParams(location.hash.slice(1));
(wanted.get("hide") || "").split(",").filter((state) => state in data.states).forEach((state) => hidden.add(state));
filters();
fit();
if (Number(wanted.get("zoom")) > 0) zoomAt((innerWidth + 310) / 2, innerHeight / 2, Number(wanted.get("zoom")));
if (wanted.get("find")) {
  byId("find").value = wanted.get("find");
  const found = find();
  if (found.length) show(found[0]);
}
draw();
