// What is chosen on the explorer page, and the address that holds it:
// #loss&option=stop&relevant=101&logits=1.6,0.5,-0.9
"use strict";

const explorerState = (losses) => {
  const state = {
    loss: losses.values().next().value,
    stops: [], // the place of the stop chosen for each option
    relevant: [true, false, true],
    logits: [1.6, 0.5, -0.9],
    pair: 0, // which two logits the map is of
  };

  const tick = () => (state.loss.reach < 2 ? 0.02 : 0.1);

  // brings what is chosen into what the loss allows
  function settle() {
    const { reach, classes, options } = state.loss;
    state.logits = state.logits.map((logit) => {
      const inside = Math.min(Math.max(logit, -reach), reach);
      return Number((Math.round(inside / tick()) * tick()).toFixed(2));
    });
    if (classes && state.relevant.filter(Boolean).length !== 1) {
      const last = state.relevant.lastIndexOf(true);
      state.relevant = state.relevant.map((_, label) => label === Math.max(last, 0));
    }
    state.stops = options.map(({ stops, default: usual }, place) => (
      state.stops[place] in stops ? state.stops[place] : usual));
  }

  function choose(name) {
    state.loss = losses.get(name);
    state.stops = [];
    settle();
  }

  // files are numbered with the last option fastest
  function file() {
    const number = state.loss.options.reduce(
      (sum, { stops }, place) => sum * stops.length + state.stops[place], 0);
    return `${state.loss.name}-${number}`;
  }

  function chosenStops() {
    return state.loss.options.map(({ name, stops }, place) => [name, stops[state.stops[place]]]);
  }

  function address() {
    const stops = chosenStops().map(([name, stop]) => `${name}=${encodeURIComponent(stop)}`);
    const relevant = state.relevant.map(Number).join("");
    const parts = [state.loss.name, ...stops, `relevant=${relevant}`, `logits=${state.logits}`];
    return `#${parts.join("&")}`;
  }

  // false where the address names no loss; what does not fit stays as it is
  function readAddress(hash) {
    const [name, ...pairs] = hash.slice(1).split("&");
    if (!losses.has(name)) return false;
    const given = Object.fromEntries(pairs.map((pair) => pair.split("=").map(unescaped)));
    if (/^[01]{3}$/.test(given.relevant)) {
      state.relevant = [...given.relevant].map((bit) => bit === "1");
    }
    const logits = (given.logits ?? "").split(",").map(Number);
    if (logits.length === 3 && logits.every(Number.isFinite)) state.logits = logits;
    choose(name);
    state.loss.options.forEach((option, place) => {
      const stop = option.stops.indexOf(given[option.name]);
      if (stop >= 0) state.stops[place] = stop;
    });
    return true;
  }

  function unescaped(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  // the call of the library that gives the same number
  function call() {
    const { name, classes, fixed } = state.loss;
    const array = (text) => (text.startsWith("[") ? `np.array(${text})` : text);
    const logits = state.logits.map((logit) => logit.toFixed(tick() < 0.1 ? 2 : 1));
    const hot = `[${state.relevant.map(Number).join(", ")}]`;
    const targets = classes ? state.relevant.indexOf(true) : hot;
    const keywords = [...chosenStops(), ...Object.entries(fixed)];
    const lines = [
      `np.array([${logits.join(", ")}])`,
      `np.array(${targets})`,
      ...keywords.map(([keyword, value]) => `${keyword}=${array(value)}`),
    ];
    return `mlc_losses.${name}(\n${lines.map((line) => `    ${line},\n`).join("")})`;
  }

  settle();
  return { state, tick, settle, choose, file, address, readAddress, call };
};
