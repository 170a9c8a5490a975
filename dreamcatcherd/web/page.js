// Keeps the page up to date. It creates no markup: it fetches the page again and takes over the parts that differ.
"use strict";
(() => {
  const GAP_MS = 500;
  const byId = (id) => document.getElementById(id);
  const parser = new DOMParser();
  let ahead = 0; // the daemon's clock minus this one's, in milliseconds
  let fetching = false;
  let again = false;
  let closed; // the last closed frame, once it is known
  let word; // the verdict's word, once it is known
  const root = document.body.dataset.root;

  function tick() {
    const now = Date.now() + ahead;
    for (const one of document.querySelectorAll("[data-closes-at]")) {
      const closes = Date.parse(one.dataset.closesAt);
      const left = Math.ceil((closes - now) / 1000);
      let text = left > 0 ? `in ${span(left)}` : "now";
      if (one.id === "countdown") text = left > -5 ? `closes ${text}` : `was due ${span(-left)} ago`;
      if (one.textContent !== text) one.textContent = text;
      // A daemon that hangs sends no event: the page asks by itself whether the frame is overdue.
      if (left < -5 && left % 5 === 0) refresh();
    }
    const countdown = byId("countdown");
    const elapsed = byId("elapsed");
    if (countdown && elapsed) {
      const gone = (now - Date.parse(countdown.dataset.openedAt)) / 1000;
      elapsed.value = Math.min(Math.max(gone, 0), elapsed.max);
    }
  }

  function span(seconds) {
    if (seconds < 120) return `${seconds} s`;
    if (seconds < 7200) return `${Math.ceil(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.ceil(seconds / 3600)} h`;
    return `${Math.ceil(seconds / 86400)} days`;
  }

  function takeOver(fresh) {
    const main = byId("main");
    const ids = (root) => [...root.querySelectorAll("#main > section")].map((one) => one.id).join();
    if (ids(document) !== ids(fresh) && !main.contains(document.activeElement)) {
      main.replaceWith(fresh.getElementById("main"));
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || other.innerHTML === part.dataset.was) continue;
      const was = other.innerHTML;
      if (part.innerHTML === was) {
        part.dataset.was = was;
        continue;
      }
      if (part.contains(document.activeElement)) {
        again = true; // whoever reads or selects here is not disturbed
        continue;
      }
      const scrolled = [...part.querySelectorAll(".table")].map((one) => [one.scrollTop, one.scrollLeft]);
      part.replaceWith(other);
      other.dataset.was = was;
      other.querySelectorAll(".table").forEach((one, i) => {
        [one.scrollTop, one.scrollLeft] = scrolled[i] ?? [0, 0];
      });
    }
    document.title = fresh.title;
    const icon = fresh.getElementById("icon").getAttribute("href");
    if (byId("icon").getAttribute("href") !== icon) byId("icon").setAttribute("href", icon);
    const now = fresh.title.split(":")[0];
    if (word !== undefined && word !== now) say(fresh.title);
    word = now;
    tick();
  }

  function say(text) {
    byId("said").textContent = text;
  }

  async function refresh() {
    if ("error" in document.body.dataset) return; // what was wrong with the address stays wrong
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    again = false;
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } });
      if (answer.ok) takeOver(parser.parseFromString(await answer.text(), "text/html"));
    } catch {
      again = true;
    }
    setTimeout(() => {
      fetching = false;
      if (again) refresh();
    }, GAP_MS);
  }

  function linked(text, state) {
    byId("link-text").textContent = text;
    byId("link").className = `state ${state}`;
  }

  function follow() {
    const events = new EventSource(`${root}api/v1/events`);
    events.addEventListener("status", (event) => {
      const said = JSON.parse(event.data);
      ahead = Date.parse(said.now) - Date.now();
      linked("Live", "good");
      if (closed !== undefined && said.last_closed !== closed) say(`Frame ${said.last_closed} is closed.`);
      closed = said.last_closed ?? null;
      refresh();
    });
    events.onerror = () => {
      linked("Not connected, trying again", "bad");
      if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    };
  }

  // What is pointed at in a chart is read out below it: the title of an SVG element appears late, and never on a phone.
  document.addEventListener("pointerover", (event) => {
    const figure = event.target.closest?.("figure");
    const title = event.target.closest?.("g")?.querySelector("title");
    const readout = figure?.querySelector(".readout");
    if (readout) readout.textContent = title ? title.textContent : "";
  });

  word = document.title.split(":")[0];
  setInterval(tick, 1000);
  tick();
  linked("Connecting", "quiet");
  follow();
})();
