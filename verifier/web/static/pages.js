// What the pages of one device do beyond being read: an address that names a part of a page opens it, and the tab of the
// page is in sight.
"use strict";
(() => {
  function reveal() {
    const id = location.hash.slice(1);
    const target = id && document.getElementById(id);
    if (!target) return;
    const inside = target.querySelector(":scope > details");
    if (inside) inside.open = true;
    let opened = false;
    for (let d = target.closest("details"); d; d = d.parentElement.closest("details")) {
      opened = opened || !d.open;
      d.open = true;
    }
    if (opened || inside) target.scrollIntoView();
  }
  function tab() {
    const current = document.querySelector(".tabs a[aria-current]");
    const bar = current && current.closest(".tabs");
    if (bar && bar.scrollWidth > bar.clientWidth) bar.scrollLeft = current.offsetLeft - (bar.clientWidth - current.offsetWidth) / 2;
  }
  addEventListener("hashchange", reveal);
  document.body.addEventListener("htmx:afterSettle", tab);
  reveal();
  tab();
})();
