"use strict";
// Replaces each still picture by an interactive chart. Expressions are interpreted, not compiled: the page's policy forbids eval.
(function () {
  const specifications = JSON.parse(document.getElementById("charts").textContent);
  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false };
  for (const [name, specification] of Object.entries(specifications)) {
    const figure = document.getElementById("figure-" + name);
    const place = figure.querySelector(".live");
    vegaEmbed(place, specification, options).then(
      function () { figure.classList.add("drawn"); },
      function (error) { place.remove(); console.error("Chart " + name + " could not be drawn:", error); }
    );
  }
  let opened = [];
  addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (part) { part.open = true; });
  });
  addEventListener("afterprint", function () {
    opened.forEach(function (part) { part.open = false; });
  });
})();
