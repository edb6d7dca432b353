// The explorer page: its controls, and what it shows of the table that is chosen.
"use strict";

(() => {
  const { NAMES } = explorerWords;
  const PAIRS = [[0, 1], [0, 2], [1, 2]];
  const NEAR = 1e-4; // how far to look for a kink
  const site = new URL("../", document.currentScript.src);
  const part = (name) => document.getElementById(`explorer-${name}`);
  let table; // of what is chosen; undefined until it is loaded
  let frame; // the map is drawn in it
  let drawn = {}; // the numbers of the map, and what they are of

  mlcExplorer.load("index").then(start).catch(failed);

  function failed(error) {
    part("failure").textContent = `The explorer stopped: ${error.message}.`;
    part("failure").hidden = false;
  }

  function start({ groups }) {
    const losses = groups.flatMap((group) => group.losses);
    const page = explorerState(new Map(losses.map((loss) => [loss.name, loss])));
    const again = () => table && show(page);
    page.choose("zlpr");
    page.readAddress(location.hash);

    part("loss").append(...groups.map((group) => element("optgroup", { label: group.title },
      ...group.losses.map(({ name }) => element("option", { value: name }, name)))));
    part("loss").onchange = () => {
      page.choose(part("loss").value);
      build(page);
      update(page);
    };
    part("pair").append(...PAIRS.map(([x, y], place) => (
      element("option", { value: place }, `${NAMES[x]} and ${NAMES[y]}`))));
    part("pair").onchange = () => {
      page.state.pair = Number(part("pair").value);
      again();
    };
    drag(page);
    new ResizeObserver(again).observe(part("map"));
    const scheme = { attributeFilter: ["data-md-color-scheme"] };
    new MutationObserver(again).observe(document.body, scheme);
    window.addEventListener("hashchange", () => {
      if (location.hash === page.address() || !page.readAddress(location.hash)) return;
      build(page);
      arrange(page);
    });

    part("failure").hidden = true;
    part("page").hidden = false;
    build(page);
    arrange(page);
  }

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // ---- the controls

  function build(page) {
    const { state } = page;
    const { loss } = state;
    part("loss").value = loss.name;
    part("summary").textContent = `${loss.summary}.`;
    part("entry").href = new URL(`gallery/${loss.name}.html`, site);
    part("options").replaceChildren(...loss.options.map((option, place) => {
      const select = element("select", {
        id: `explorer-option-${option.name}`,
        onchange: () => {
          state.stops[place] = Number(select.value);
          update(page);
        },
      }, ...option.stops.map((stop, value) => element("option", { value }, stop)));
      select.value = state.stops[place];
      const label = element("label", { htmlFor: select.id }, option.name);
      return element("span", {}, label, " ", select);
    }));
    part("labels").replaceChildren(...NAMES.map((name, label) => row(page, name, label)));
    part("gradients").replaceChildren(...NAMES.map((name) => element("tr", {},
      element("th", { scope: "row" }, name),
      element("td", {}, element("span", { className: "explorer-bar" }, element("span"))),
      element("td"))));
  }

  function row(page, name, label) {
    const { state } = page;
    const relevant = element("input", {
      type: state.loss.classes ? "radio" : "checkbox",
      name: "explorer-relevant",
      checked: state.relevant[label],
      onchange: () => {
        if (state.loss.classes) state.relevant.fill(false);
        state.relevant[label] = relevant.checked;
        update(page);
      },
    });
    const slider = element("input", {
      type: "range",
      id: `explorer-logit-${name}`,
      min: -state.loss.reach,
      max: state.loss.reach,
      step: page.tick(),
      value: state.logits[label],
      ariaLabel: `Logit of ${name}`,
      oninput: () => {
        state.logits[label] = Number(slider.value);
        update(page);
      },
    });
    return element("div", { className: "explorer-row" },
      element("label", {}, relevant, ` ${name} is relevant`), slider, element("span"));
  }

  // two logits at a time, by the point on the map
  function drag(page) {
    const canvas = part("map");
    const move = (event) => {
      const [x, y] = PAIRS[page.state.pair];
      [page.state.logits[x], page.state.logits[y]] = explorerMap.logitsAt(
        canvas, event, page.state.loss.reach);
      page.settle();
      update(page);
    };
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      move(event);
    };
    canvas.onpointermove = (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) move(event);
    };
  }

  // ---- what is shown

  // what is chosen by hand goes into the address
  function update(page) {
    history.replaceState(null, "", page.address());
    return arrange(page);
  }

  async function arrange(page) {
    const file = page.file();
    table = undefined;
    cancelAnimationFrame(frame);
    try {
      const loaded = await mlcExplorer.load(file);
      if (file !== page.file()) return; // something else was chosen meanwhile
      table = loaded;
      show(page);
    } catch (error) {
      failed(error);
    }
  }

  function show(page) {
    const { state } = page;
    const { relevant, logits } = state;
    const { digits, decision, errors } = table;
    const result = mlcExplorer.evaluate(table, relevant, logits);
    const predicted = explorerWords.predict(decision, relevant, logits);

    part("labels").querySelectorAll("input[type=range]").forEach((slider, label) => {
      slider.value = logits[label];
      slider.nextSibling.textContent = logits[label].toFixed(page.tick() < 0.1 ? 2 : 1);
    });
    part("value").value = fixed(result.value, digits.value);
    [...part("gradients").rows].forEach(({ cells }, label) => {
      const gradient = result.gradients[label];
      const share = Math.min(50 * Math.abs(gradient) / table.steepest, 50); // of the width, in %
      const bar = cells[1].firstChild.firstChild;
      bar.className = gradient < 0 ? "explorer-up" : "explorer-down";
      bar.style = `width: ${share}%; left: ${gradient < 0 ? 50 - share : 50}%`;
      cells[2].textContent = fixed(gradient, digits.gradient);
    });
    part("prediction").textContent = explorerWords.list(predicted) || "nothing";
    part("rule").textContent = ` (${explorerWords.rule(decision)})`;
    part("words").textContent = explorerWords.describe(
      table, state.loss.classes, relevant, logits, result, kink(relevant, logits, result));
    part("call").textContent = page.call();
    part("note").textContent = "Read from a table. Its largest error at random logits: "
      + `${small(errors.value)} in the loss, ${small(errors.gradient)} in a gradient.`;
    cancelAnimationFrame(frame); // a map is slower than a slider
    frame = requestAnimationFrame(() => showMap(page, result));
  }

  // no "-0.00"
  function fixed(number, digits) {
    const text = number.toFixed(digits);
    return Number(text) === 0 ? (0).toFixed(digits) : text;
  }

  const small = (error) => (error < 1e-6 ? "below 0.000001" : String(Number(error.toPrecision(1))));

  // whether value or gradients change at once within the reach of NEAR
  function kink(relevant, logits, { value, gradients }) {
    const limit = 0.01 * table.steepest;
    return logits.some((_, moved) => [NEAR, -NEAR].some((by) => {
      const near = mlcExplorer.evaluate(
        table, relevant, logits.map((logit, label) => (label === moved ? logit + by : logit)));
      return Math.abs(near.value - value) > limit
        || near.gradients.some((gradient, label) => Math.abs(gradient - gradients[label]) > limit);
    }));
  }

  function showMap(page, { gradients }) {
    const { state: { loss, relevant, logits, pair } } = page;
    const [x, y] = PAIRS[pair];
    const other = 3 - x - y;
    const of = JSON.stringify([page.file(), relevant, pair, logits[other]]);
    if (drawn.of !== of) {
      const moved = [...logits]; // one array for all pixels
      const at = (a, b) => Object.assign(moved, { [x]: a, [y]: b });
      const bits = (flags) => flags.reduce((sum, flag) => 2 * sum + Number(flag), 0);
      drawn = {
        of,
        values: explorerMap.sample(
          (a, b) => mlcExplorer.evaluate(table, relevant, at(a, b)).value, loss.reach),
        sets: explorerMap.sample(
          (a, b) => bits(explorerWords.predict(table.decision, relevant, at(a, b))), loss.reach),
      };
    }
    const step = explorerMap.draw(part("map"), {
      ...drawn,
      reach: loss.reach,
      at: [logits[x], logits[y]],
      gradients: [gradients[x], gradients[y]],
      steepest: table.steepest,
      names: [NAMES[x], NAMES[y]],
    });
    part("caption").textContent = step
      ? `The stronger the colour, the larger the loss; from line to line by ${
        Number(step.toPrecision(1))}. Drag the point.`
      : "The loss is the same everywhere on this map.";
  }
})();
