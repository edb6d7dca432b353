// Loads the tables that docs/site/explorer_tables.py wrote, and reads them at given logits.
// A page opened from a disk may not fetch, so a table is a script that calls mlcExplorer.arrive.
"use strict";

const mlcExplorer = (() => {
  const folder = new URL("../explorer/", document.currentScript.src);
  const asked = new Map(); // name of a file -> promise of its content
  const waiting = new Map(); // name of a file -> what keeps the promise

  function load(name) {
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const script = document.createElement("script");
        script.src = new URL(`${name}.js`, folder);
        script.onerror = () => {
          asked.delete(name);
          reject(new Error(`the table explorer/${name}.js could not be loaded`));
        };
        document.head.append(script);
      }));
    }
    return asked.get(name);
  }

  function arrive(name, content) {
    for (const term of Object.values(content.patterns ?? {}).flat()) {
      term.fields = term.fields.map((field) => field && unpack(field));
    }
    waiting.get(name)(content);
  }

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  }

  // The loss and its gradient by each logit. Where the order of the labels does not matter there are
  // tables for the targets with the relevant labels first only.
  function evaluate(table, relevant, logits) {
    const order = relevant.map((_, label) => label);
    if (table.symmetric) order.sort((a, b) => relevant[b] - relevant[a] || a - b);
    const terms = table.patterns[order.map((label) => Number(relevant[label])).join("")];
    const at = order.map((label) => logits[label]);
    let value = 0;
    const gradients = logits.map(() => 0);
    for (const term of terms) {
      const [share, ...byCoordinate] = read(term, at);
      value += share;
      byCoordinate.forEach((gradient, axis) => {
        order.forEach((label, place) => { gradients[label] += gradient * term.project[axis][place]; });
      });
    }
    if (table.hinge && value <= 0) return { value: 0, gradients: logits.map(() => 0) };
    return { value, gradients };
  }

  function read(term, logits) {
    const cell = [];
    const inside = [];
    for (const row of term.project) {
      let at = row.reduce((sum, weight, label) => sum + weight * logits[label], 0);
      const below = term.start !== null && at < term.start;
      if (below || (term.stop !== null && at >= term.stop)) return term.fields.map(() => 0);
      if (term.squash) at = 1 / (1 + Math.exp(-at));
      const scaled = Math.min(Math.max((at - term.lower) / term.step, 0), term.cells);
      cell.push(Math.min(Math.floor(scaled), term.cells - 1));
      inside.push(scaled - cell.at(-1));
    }
    const readCell = term.kind === "spline" ? readSpline : readTriangle;
    return readCell(term, cell, inside);
  }

  const weights = new Float64Array(64);
  const places = new Int32Array(64);

  function readSpline(term, cell, inside) {
    let corners = 1;
    weights[0] = 1;
    places[0] = 0;
    cell.forEach((first, axis) => {
      const share = basis(inside[axis]);
      for (let old = corners - 1; old >= 0; old--) { // from the back, to overwrite nothing unread
        for (let corner = 3; corner >= 0; corner--) {
          weights[4 * old + corner] = weights[old] * share[corner];
          places[4 * old + corner] = places[old] * (term.cells + 3) + first + corner;
        }
      }
      corners *= 4;
    });
    return term.fields.map((field) => {
      let sum = 0;
      for (let corner = 0; field && corner < corners; corner++) {
        sum += weights[corner] * field[places[corner]];
      }
      return sum;
    });
  }

  // the four cubic B-splines that are not 0 in a cell
  function basis(t) {
    const rest = 1 - t;
    return [
      rest ** 3 / 6,
      (3 * t ** 3 - 6 * t ** 2 + 4) / 6,
      (3 * rest ** 3 - 6 * rest ** 2 + 4) / 6,
      t ** 3 / 6,
    ];
  }

  // a plane through the middle of the half of the cell that the point is in
  function readTriangle(term, [row, column], [across, along]) {
    const above = along > across;
    const place = 2 * (row * term.cells + column) + Number(above);
    const [value, ...gradients] = term.fields.map((field) => (field ? field[place] : 0));
    const middle = above ? [1 / 3, 2 / 3] : [2 / 3, 1 / 3];
    const rise = gradients[0] * (across - middle[0]) + gradients[1] * (along - middle[1]);
    return [value + term.step * rise, ...gradients];
  }

  return { load, arrive, evaluate };
})();
