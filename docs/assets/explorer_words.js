// What is predicted at some logits, and what the loss does there, in words.
"use strict";

const explorerWords = (() => {
  const NAMES = ["A", "B", "C"];

  // above a threshold, or the highest; of equals the first, as predict_top_k
  function predict(decision, relevant, logits) {
    if ("threshold" in decision) return logits.map((logit) => logit > decision.threshold);
    const count = decision.top ?? relevant.filter(Boolean).length;
    const ranked = logits.map((_, label) => label).sort((a, b) => logits[b] - logits[a] || a - b);
    return logits.map((_, label) => ranked.indexOf(label) < count);
  }

  function rule(decision) {
    if ("threshold" in decision) return `logits above ${Number(decision.threshold.toFixed(2))}`;
    if (decision.top === null) return "as many of the highest as are relevant";
    return decision.top === 1 ? "the highest" : `the ${decision.top} highest`;
  }

  function list(flags) {
    return joined(NAMES.filter((_, label) => flags[label]));
  }

  function joined(parts) {
    if (parts.length < 2) return parts.join("");
    return `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
  }

  function describe(table, classes, relevant, logits, { value, gradients }, onKink) {
    // what is below half of the last digit is shown as 0
    const least = 0.5 * 10 ** -table.digits.value;
    const small = 0.5 * 10 ** -table.digits.gradient;
    const predicted = predict(table.decision, relevant, logits);
    const missed = relevant.map((is, label) => is && !predicted[label]);
    const wrong = relevant.map((is, label) => !is && predicted[label]);
    return [
      verdict(classes, missed, wrong),
      ...pushes(relevant, Math.abs(value) < least, gradients, small),
      onKink ? "Here the loss has a kink or a jump: what is shown belongs to one side of it." : "",
    ].filter(Boolean).join(" ");
  }

  function verdict(classes, missed, wrong) {
    const found = [];
    if (missed.some(Boolean)) found.push(`misses ${list(missed)}`);
    // with k guesses the others are no mistake
    if (!classes && wrong.some(Boolean)) found.push(`wrongly has ${list(wrong)}`);
    return found.length ? `The prediction ${found.join(" and ")}.` : "The prediction is right.";
  }

  function pushes(relevant, none, gradients, small) {
    if (gradients.every((gradient) => Math.abs(gradient) < small)) {
      return [none ? "The loss and its gradients are 0 to the digits shown: nothing is left to learn."
        : "The gradients are 0 to the digits shown: the loss is flat here, a step changes nothing."];
    }
    const up = gradients.map((gradient) => gradient <= -small);
    const down = gradients.map((gradient) => gradient >= small);
    const still = gradients.map((gradient) => Math.abs(gradient) < small);
    const moves = [["raises", up, ""], ["lowers", down, ""], ["leaves", still, " alone"]]
      .filter(([, flags]) => flags.some(Boolean))
      .map(([verb, flags, end]) => `${verb} ${list(flags)}${end}`);
    const sentences = [`A step down the gradient ${joined(moves)}.`];
    const total = gradients.reduce((sum, gradient) => sum + Math.abs(gradient), 0);
    const most = gradients.findIndex((gradient) => Math.abs(gradient) > 0.6 * total);
    if (most >= 0 && still.filter(Boolean).length < 2) {
      const share = Math.round(100 * Math.abs(gradients[most]) / total);
      sentences.push(`${share}% of the push is on ${NAMES[most]}.`);
    }
    const against = up.map((is, label) => (relevant[label] ? down[label] : is));
    if (against.some(Boolean)) {
      sentences.push(`Mind ${list(against)}: pushed against the given target.`);
    }
    return sentences;
  }

  return { NAMES, predict, rule, list, describe };
})();
