// The map of a loss over two of the logits: shades, contour lines, a point to drag and its step.
"use strict";

const explorerMap = (() => {
  const PIXELS = 160; // of the shades, on each side
  const LINES = 10; // contour lines, about
  const MARGIN = 28; // for the axes, left and below, in CSS pixels
  const ROOM = 10; // for the point at an end of the axes, right and above

  // a round number near size / LINES
  function spacing(size) {
    const power = 10 ** Math.floor(Math.log10(size / LINES));
    return power * [1, 2, 5, 10].find((factor) => factor * power * LINES >= size);
  }

  // a number at every pixel, row by row from the highest of the vertical logit
  function sample(numberAt, reach) {
    const at = (place) => reach * (2 * (place + 0.5) / PIXELS - 1);
    return Float64Array.from({ length: PIXELS * PIXELS }, (_, place) => (
      numberAt(at(place % PIXELS), -at(Math.floor(place / PIXELS)))));
  }

  // a stronger colour where the loss is larger, lines, and dashes where the prediction changes
  function shades(values, sets, [paper, ink, border]) {
    const low = values.reduce((a, b) => Math.min(a, b));
    const high = values.reduce((a, b) => Math.max(a, b));
    const step = high - low > 1e-6 ? spacing(high - low) : 0;
    const level = (place) => (step ? Math.floor(values[place] / step + 1e-6) : 0);
    const image = new ImageData(PIXELS, PIXELS);
    for (let place = 0; place < values.length; place++) {
      const [row, column] = [Math.floor(place / PIXELS), place % PIXELS];
      const next = [place + Number(column < PIXELS - 1),
        place + PIXELS * Number(row < PIXELS - 1)];
      const depth = step ? (values[place] - low) / (high - low) : 0;
      const line = next.some((other) => level(other) !== level(place));
      const share = 0.06 + 0.64 * depth + (line ? 0.25 : 0);
      const edge = next.some((other) => sets[other] !== sets[place]) && (row + column) % 8 < 5;
      for (let part = 0; part < 3; part++) {
        const shade = paper[part] + share * (ink[part] - paper[part]);
        image.data[4 * place + part] = edge ? border[part] : shade;
      }
      image.data[4 * place + 3] = 255;
    }
    return { image, step };
  }

  function colour(canvas, property) {
    const probe = document.createElement("span");
    probe.style.color = `var(${property})`;
    canvas.parentElement.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function parts(colourText) {
    const pen = new OffscreenCanvas(1, 1).getContext("2d");
    pen.fillStyle = colourText;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  }

  function draw(canvas, view) {
    const size = canvas.clientWidth;
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(size * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const side = size - MARGIN - ROOM;
    const across = (logit) => MARGIN + side * (logit + view.reach) / (2 * view.reach);
    const along = (logit) => ROOM + side * (view.reach - logit) / (2 * view.reach);
    const ink = colour(canvas, "--explorer-ink");
    const paper = colour(canvas, "--explorer-paper");
    const high = colour(canvas, "--explorer-high");

    const { image, step } = shades(view.values, view.sets, [paper, high, ink].map(parts));
    const small = new OffscreenCanvas(PIXELS, PIXELS);
    small.getContext("2d").putImageData(image, 0, 0);
    pen.drawImage(small, MARGIN, ROOM, side, side);

    pen.strokeStyle = pen.fillStyle = ink;
    pen.font = `12px ${getComputedStyle(canvas).fontFamily}`;
    pen.textBaseline = "middle";
    for (const logit of [-view.reach, 0, view.reach]) {
      pen.textAlign = "right";
      pen.fillText(logit, MARGIN - 5, along(logit));
      pen.textAlign = "center";
      pen.fillText(logit, across(logit), size - 13);
    }
    pen.fillText(view.names[0], across(view.reach / 2), size - 13);
    pen.fillText(view.names[1], MARGIN / 2, along(view.reach / 2));

    const point = [across(view.at[0]), along(view.at[1])];
    arrow(pen, point, [-view.gradients[0], view.gradients[1]].map((part) => 60 * part / view.steepest));
    pen.beginPath();
    pen.arc(...point, 8, 0, 2 * Math.PI);
    pen.fillStyle = paper;
    pen.fill();
    pen.lineWidth = 3;
    pen.stroke();
    return step;
  }

  function arrow(pen, [x, y], [right, down]) {
    const length = Math.hypot(right, down);
    if (length < 1) return;
    const [a, b] = [right / length, down / length];
    const [tipX, tipY] = [x + (8 + length) * a, y + (8 + length) * b];
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(tipX, tipY);
    pen.moveTo(tipX - 7 * a + 4 * b, tipY - 7 * b - 4 * a);
    pen.lineTo(tipX, tipY);
    pen.lineTo(tipX - 7 * a - 4 * b, tipY - 7 * b + 4 * a);
    pen.stroke();
  }

  // the two logits under the pointer
  function logitsAt(canvas, event, reach) {
    const box = canvas.getBoundingClientRect();
    const side = box.width - MARGIN - ROOM;
    const inside = (share) => reach * (2 * Math.min(Math.max(share, 0), 1) - 1);
    return [
      inside((event.clientX - box.left - MARGIN) / side),
      inside(1 - (event.clientY - box.top - ROOM) / side),
    ];
  }

  return { sample, draw, logitsAt };
})();
