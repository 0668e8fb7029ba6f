// Shows the parts of the page again as the node sends them, and says when it sends nothing any more.
"use strict";

const beat = document.getElementById("beat");
const source = new EventSource(document.body.dataset.live);
let heard = Date.now();

function show() {
  const seconds = Math.round((Date.now() - heard) / 1000);
  const isLost = seconds >= 5;
  beat.hidden = false;
  beat.textContent = isLost ? `no answer for ${seconds} s,` : "live,";
  beat.className = isLost ? "lost" : "";
  document.body.classList.toggle("stale", isLost);
}

for (const part of document.querySelectorAll("[data-part]")) {
  source.addEventListener(part.id, (event) => {
    part.innerHTML = event.data;
    if (part.id === "verdict") {
      document.title = part.querySelector("h1").textContent;
    }
  });
}
source.addEventListener("beat", () => {
  heard = Date.now();
  show();
});
setInterval(show, 1000);
