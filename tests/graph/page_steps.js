// Uses the page in the frame as its reader does, and leaves what it shows as JSON in the document.
const COLOURS = JSON.parse(document.getElementById("colours").textContent);
const frame = document.getElementById("page");

function use() {
  const page = frame.contentDocument, view = frame.contentWindow, canvas = page.getElementById("picture"), found = {};
  const send = (target, type, Kind, more) => target.dispatchEvent(new view[Kind](type, {bubbles: true, cancelable: true, ...more}));
  const key = (name, target = page.body) => send(target, "keydown", "KeyboardEvent", {key: name});
  const middle = {clientX: view.innerWidth / 2, clientY: view.innerHeight / 2, pointerId: 1};
  const click = (at) => {
    send(canvas, "pointerdown", "PointerEvent", at);
    send(canvas, "pointerup", "PointerEvent", at);
  };
  const search = (text) => {
    const input = page.getElementById("find");
    input.value = text;
    send(input, "input", "Event", {});
    return [...page.querySelectorAll("#found li")].map((one) => one.textContent);
  };
  const details = () => page.getElementById("details").hidden ? null : page.getElementById("details").innerText;
  const pixels = () => { // how many have the colour of each state
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, counts = {};
    for (const [state, colour] of Object.entries(COLOURS)) counts[state] = 0;
    for (let at = 0; at < data.length; at += 4)
      for (const [state, [red, green, blue]] of Object.entries(COLOURS))
        if (Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 12) counts[state]++;
    return counts;
  };
  const labels = () => [Number(page.body.dataset.labels), Number(page.body.dataset.interfaces)];
  canvas.setPointerCapture = () => {}; // the pointer of this script is none
  view.requestAnimationFrame = (draw) => draw(); // at once, not when the browser has time
  found.atFirst = {labels: labels(), pixels: pixels(), legend: page.getElementById("states").innerText.split("\n")};
  found.search = search("R2:ETH2");
  found.address = search("10.0.0.0/31");
  found.nothing = search("no such thing");
  search("r1");
  key("Enter", page.getElementById("find"));
  found.node = details();
  key("Escape");
  found.closed = details();
  click(middle); // the node is there
  found.clicked = details();
  key("Escape");
  search("r2:eth2");
  key("Enter", page.getElementById("find"));
  key("Escape");
  click(middle);
  found.edge = details();
  click({...middle, clientX: 5, clientY: view.innerHeight - 5});
  found.beside = details();
  const box = page.querySelector("input[name=up]");
  box.click();
  key("0");
  found.withoutUp = {pixels: pixels(), search: search("r1")};
  box.click();
  search("");
  for (let number = 0; number < 12; number++) send(canvas, "wheel", "WheelEvent", {...middle, deltaY: 300});
  found.far = labels();
  key("0");
  for (let number = 0; number < 3; number++) send(canvas, "wheel", "WheelEvent", {...middle, deltaY: -300});
  found.close = labels();
  found.loaded = view.performance.getEntriesByType("resource").map((one) => one.name);
  found.heading = page.querySelector("h1").textContent;
  found.images = page.images.length;
  return found;
}

frame.addEventListener("load", () => {
  let found;
  try { found = use(); } catch (error) { found = {error: String(error.stack)}; }
  document.getElementById("result").textContent = JSON.stringify(found);
});
