// Keeps a WebSocket open, which the server closes with the session.
"use strict";

const ENDED = 4401;
const LONGEST_PAUSE_MS = 5000;

const state = document.getElementById("live");
const ended = document.getElementById("ended");
let pauseMs = 250;

function show(kind, text) {
  if (state) {
    state.className = `state ${kind}`;
    state.textContent = text;
  }
}

function connect() {
  const url = new URL("/live", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  socket.onmessage = (event) => {
    pauseMs = 250;
    show("good", `to ${JSON.parse(event.data).node}`);
  };
  socket.onclose = (event) => {
    if (event.code === ENDED) {
      show("gone", "closed, the session has ended");
      ended.showModal();
      return;
    }
    show("slow", "lost, connecting again");
    setTimeout(connect, pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  };
}

show("slow", "connecting");
connect();
