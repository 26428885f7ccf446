// Copies the text of the element that a button names.

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  event.preventDefault(); // it stands in what opens and closes the text
  const text = document.getElementById(button.dataset.copy).textContent;
  await navigator.clipboard.writeText(text).then(() => button.classList.add("copied"), () => button.classList.add("failed"));
  setTimeout(() => button.classList.remove("copied", "failed"), 1500);
});
