// The filter of the gallery: cards whose text has every word typed stay.
document.querySelectorAll("input.filter").forEach((input) => {
  input.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    document.querySelectorAll(".cards").forEach((cards) => {
      for (const card of cards.children) {
        const text = card.textContent.toLowerCase();
        card.hidden = !words.every((word) => text.includes(word));
      }
      const none = [...cards.children].every((card) => card.hidden);
      cards.hidden = none;
      cards.previousElementSibling.hidden = none;
    });
  });
});
