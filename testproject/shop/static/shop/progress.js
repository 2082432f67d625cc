"use strict";

const form = document.getElementById("start");
const bar = document.getElementById("bar");
const state = document.getElementById("state");
const cancel = document.getElementById("cancel");
const token = form.elements.csrfmiddlewaretoken.value;

async function post(url, body, headers = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: {"Content-Type": "application/json", "X-CSRFToken": token, ...headers},
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(answer.detail || JSON.stringify(answer));
  }
  return answer;
}

function follow(url) {
  const events = new EventSource(`${url}events/`);
  events.addEventListener("status", (event) => {
    state.textContent = JSON.parse(event.data).status;
  });
  events.addEventListener("progress", (event) => {
    const progress = JSON.parse(event.data);
    if (progress.share !== null) {
      bar.value = progress.share;
    }
    bar.title = progress.message;
  });
  events.addEventListener("end", (event) => {
    events.close();
    state.textContent = JSON.parse(event.data).status;
    cancel.hidden = true;
  });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const percent = Number(form.elements.percent.value);
    // The key makes a second click, or a repeated request, the same job.
    const key = form.dataset.key || (form.dataset.key = crypto.randomUUID());
    const job = await post(form.action, {percent}, {"Idempotency-Key": key});
    delete form.dataset.key;
    bar.value = 0;
    cancel.hidden = false;
    cancel.onclick = () => post(`${job.url}cancel/`, {});
    follow(job.url);
  } catch (error) {
    state.textContent = error.message;
  }
});
