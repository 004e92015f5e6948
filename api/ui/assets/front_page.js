// Keeps the front page live: the server pushes its content, we show it and local times.
const main = document.getElementById("live");
const connection = document.getElementById("connection");

function localise() {
  for (const time of main.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.title = moment.toISOString();
    time.textContent = moment.toLocaleString();
  }
  for (const place of main.querySelectorAll("[data-api-url]")) {
    place.textContent = new URL("api", document.baseURI).href;
  }
}

localise();
const stream = new EventSource("live");
stream.onmessage = (message) => {
  main.innerHTML = message.data;
  localise();
};
stream.onopen = () => {
  connection.textContent = connection.dataset.live;
  connection.classList.remove("lost");
};
stream.onerror = () => {
  connection.textContent = connection.dataset.lost;
  connection.classList.add("lost");
};
