// The viewer's side of streaming/page_server.py: one WebSocket for the offer and the status, one WebRTC connection for
// picture and voice. States: connecting -> waiting (no picture yet) -> live -> lost | ended; the button starts anew.
"use strict";

const RETRY_DELAYS_MS = [500, 1500, 3000];
const CONNECT_TIMEOUT_MS = 20000;
const PICTURE_AHEAD_MS = 20;
const PICTURE_WAIT_LIMIT_MS = 150; // for a late voice
const STALL_S = 2; // seconds without a new frame after which the page says so

const $ = (id) => document.getElementById(id);
const video = $("video");
const STATE_NAMES = { connecting: "Connecting", waiting: "Waiting", live: "Live", lost: "Offline", ended: "Ended" };

let call = null; // { socket, peer, playing, before, stalled, timer, timeout }
let attempts = 0;
let retryTimer = 0;

function show(state, headline = "", detail = "") {
  document.body.dataset.state = state;
  $("state").textContent = STATE_NAMES[state];
  $("headline").textContent = headline;
  $("detail").textContent = detail;
  $("again").hidden = !(state === "lost" || state === "ended");
  if (state !== "live") {
    $("notice").hidden = true;
    $("start").hidden = true;
    $("quick").textContent = "";
  }
}

function hangUp() {
  clearTimeout(retryTimer);
  if (!call) return;
  const { socket, peer, timer, timeout } = call;
  call = null;
  clearInterval(timer);
  clearTimeout(timeout);
  socket.onmessage = socket.onclose = peer.onconnectionstatechange = null;
  socket.close();
  peer.close();
}

function finish(state, headline, detail) {
  hangUp();
  show(state, headline, detail);
}

function lose() {
  hangUp();
  if (attempts < RETRY_DELAYS_MS.length) {
    show("connecting", "Reconnecting", "The connection to visavis was lost");
    retryTimer = setTimeout(connect, RETRY_DELAYS_MS[attempts++]);
  } else {
    show("lost", "Connection lost", "visavis does not answer. Check that it is still running on this machine.");
    $("line").textContent = "Offline";
  }
}

function connect() {
  hangUp();
  if (!attempts) show("connecting", "Connecting");
  const address = new URL("socket", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  const peer = new RTCPeerConnection();
  const mine = { socket, peer, playing: false, before: null, stalled: 0, timer: 0, timeout: 0 };
  call = mine;

  const stream = new MediaStream();
  peer.ontrack = ({ track, receiver }) => {
    receiver.jitterBufferTarget = 0; // same machine: what waits here only adds to the latency
    stream.addTrack(track);
  };
  peer.onconnectionstatechange = () => {
    if (peer.connectionState === "failed") lose();
    if (peer.connectionState === "connected") clearTimeout(mine.timeout);
  };
  socket.onopen = async () => {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    await peer.setLocalDescription(await peer.createOffer());
    if (call === mine) socket.send(JSON.stringify({ type: "offer", sdp: peer.localDescription.sdp }));
  };
  socket.onmessage = ({ data }) => receive(mine, JSON.parse(data));
  socket.onclose = lose;
  mine.timeout = setTimeout(lose, CONNECT_TIMEOUT_MS);
  mine.timer = setInterval(() => measure(mine), 1000);
  video.srcObject = stream;
}

async function receive(mine, message) {
  switch (message.type) {
    case "answer":
      show("waiting", "Waiting for the picture", "The call appears here as soon as the other side sends");
      await mine.peer.setRemoteDescription(message);
      if (call === mine) play();
      break;
    case "status":
      $("title").textContent = message.title || "visavis";
      document.title = message.title ? `${message.title} · visavis` : "visavis";
      $("line").textContent = message.line || "Connected";
      list($("call"), message.figures);
      break;
    case "ended":
      $("line").textContent = message.line;
      finish("ended", "The call has ended", message.line);
      break;
    default: // full, unreachable
      $("line").textContent = "Not connected";
      finish("lost", "No connection", message.line);
  }
}

// Sound without a click is forbidden in most browsers: then the picture starts without, under a button.
async function play() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    video.muted = true;
    showMuted();
    $("start").hidden = document.body.dataset.state !== "live";
    await video.play().catch(() => {});
  }
}

function seen() {
  if (!call) return;
  if (!call.playing) call.socket.send(JSON.stringify({ type: "playing" })); // the voice starts now
  call.playing = true;
  attempts = 0;
  show("live");
  $("start").hidden = !video.muted || wantsMute;
}

async function measure(mine) {
  const now = { video: null, audio: null };
  let roundTrip = null;
  for (const entry of (await mine.peer.getStats()).values()) {
    if (entry.type === "inbound-rtp") now[entry.kind] = entry;
    if (entry.type === "candidate-pair" && entry.nominated) roundTrip = entry.currentRoundTripTime;
  }
  if (call !== mine || !now.video) return;
  const before = mine.before;
  mine.before = now;
  if (!before || !before.video) return;
  const seconds = (now.video.timestamp - before.video.timestamp) / 1000;
  const delta = (kind, name) => (now[kind]?.[name] ?? 0) - (before[kind]?.[name] ?? 0);
  const buffered = (kind) => {
    const count = delta(kind, "jitterBufferEmittedCount");
    return count > 0 ? (1000 * delta(kind, "jitterBufferDelay")) / count : 0;
  };
  const [videoMs, audioMs] = [buffered("video"), buffered("audio")];
  for (const receiver of mine.peer.getReceivers()) {
    // The browser brings lips and voice together by itself, but takes many seconds for it after a late start of the
    // voice. The picture stays a little ahead, so that the browser never delays the voice for it in turn.
    const wait = Math.min(Math.max(audioMs - PICTURE_AHEAD_MS, 0), PICTURE_WAIT_LIMIT_MS);
    if (receiver.track.kind === "video") receiver.jitterBufferTarget = wait;
  }
  const fps = delta("video", "framesDecoded") / seconds;
  const kbps = (delta("video", "bytesReceived") + delta("audio", "bytesReceived")) * 8 / 1000 / seconds;
  const decodeMs = (1000 * delta("video", "totalDecodeTime")) / Math.max(delta("video", "framesDecoded"), 1);

  mine.stalled = fps > 0 ? 0 : mine.stalled + seconds;
  const stalled = document.body.dataset.state === "live" && mine.stalled >= STALL_S;
  $("notice").hidden = !stalled;
  if (stalled) $("notice").textContent = `No new picture for ${Math.round(mine.stalled)} s`;

  const size = now.video.frameWidth ? `${now.video.frameWidth} × ${now.video.frameHeight}` : "–";
  if (document.body.dataset.state === "live") $("quick").textContent = `${size} · ${fps.toFixed(0)} fps`;
  list($("browser"), [
    ["Picture", size],
    ["Frame rate", `${fps.toFixed(1)} fps`],
    ["Bitrate", `${kbps.toFixed(0)} kbps`],
    ["Picture buffer", `${videoMs.toFixed(0)} ms`],
    ["Voice buffer", `${audioMs.toFixed(0)} ms`],
    ["Decoding", `${decodeMs.toFixed(1)} ms`],
    ["Round trip", roundTrip === null ? "–" : `${(1000 * roundTrip).toFixed(1)} ms`],
    ["Frames dropped", `${now.video.framesDropped ?? 0}`],
  ]);
}

function list(target, pairs) {
  target.replaceChildren(...pairs.flatMap(([label, value]) => [["dt", label], ["dd", value]]).map(([tag, text]) => {
    const node = document.createElement(tag);
    node.textContent = text;
    return node;
  }));
}

let wantsMute = false;

function showMuted() {
  const silent = video.muted || video.volume === 0;
  $("mute").setAttribute("aria-pressed", String(silent));
  $("mute").setAttribute("aria-label", silent ? "Unmute" : "Mute");
}

function setMuted(muted) {
  wantsMute = muted;
  video.muted = muted;
  if (!muted && video.volume === 0) {
    video.volume = 1;
    $("volume").value = 100;
  }
  $("start").hidden = true;
  showMuted();
  if (call) play();
}

function toggleFigures() {
  const open = document.body.classList.toggle("with-figures");
  $("figures").hidden = !open;
  $("more").setAttribute("aria-expanded", String(open));
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen?.();
}

function reconnect() {
  attempts = 0;
  connect();
}

video.addEventListener("playing", seen);
video.addEventListener("resize", () => {
  if (video.videoWidth) $("stage").style.setProperty("--shape", `${video.videoWidth / video.videoHeight}`);
});
$("start").addEventListener("click", () => setMuted(false));
$("again").addEventListener("click", reconnect);
$("mute").addEventListener("click", () => setMuted(!video.muted));
$("volume").addEventListener("input", ({ target }) => {
  video.volume = target.value / 100;
  setMuted(target.value === "0");
});
$("more").addEventListener("click", toggleFigures);
$("full").addEventListener("click", toggleFull);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, button")) return;
  const action = { m: () => setMuted(!video.muted), f: toggleFull, i: toggleFigures }[event.key.toLowerCase()];
  action?.();
});
addEventListener("pagehide", hangUp);

addEventListener("load", connect); // not before: a video without a picture would keep the page loading
