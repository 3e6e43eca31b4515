-- The dashboard's page.
return [==[<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tidegate</title>
<link rel="stylesheet" href="style.css">
<header>
  <h1>tidegate</h1>
  <nav role="tablist" aria-label="Views"></nav>
  <span id="state" role="status">connecting…</span>
  <button id="theme" type="button" title="light or dark">◐</button>
</header>
<main>
  <section id="overview" data-title="Overview">
    <div class="figures">
      <figure><figcaption>From clients <b id="rate-in">0 B/s</b></figcaption><canvas id="chart-in" aria-label=
        "bytes per second from clients"></canvas></figure>
      <figure><figcaption>To clients <b id="rate-out">0 B/s</b></figcaption><canvas id="chart-out" aria-label=
        "bytes per second to clients"></canvas></figure>
      <figure><figcaption>Connections <b id="count">0</b></figcaption><canvas id="chart-count" aria-label=
        "open connections"></canvas></figure>
    </div>
    <h2>Services</h2>
    <table id="services"><thead><tr><th>Name<th>Address<th>Handler<th>Listener<th>Chain<th>State<th class="n">Open
      <th class="n">Ever<th class="n">In<th class="n">Out<th class="n">Total in<th class="n">Total out
      <th class="n">Errors<th></tr></thead><tbody></tbody></table>
  </section>
  <section id="connections" data-title="Connections" hidden>
    <form id="filter" role="search">
      <label>Service <input name="service" size="12"></label>
      <label>Client <input name="client" size="16"></label>
      <label>User <input name="user" size="10"></label>
      <label>Target <input name="host" size="18"></label>
      <label>First <select name="sort"><option value="">the youngest<option value="rate">the fastest
        <option value="bytes">most bytes<option value="input">most in<option value="output">most out
        <option value="age">the oldest</select>
      </label>
      <span id="total"></span>
    </form>
    <table id="live"><thead><tr><th>Service<th>Client<th>User<th>Target<th>Route<th class="n">In<th class="n">Out
      <th class="n">Speed<th class="n">Age<th></tr></thead><tbody></tbody></table>
  </section>
  <section id="chains" data-title="Chains" hidden><div id="drawing"></div></section>
  <section id="config" data-title="Configuration" hidden>
    <div class="row">
      <label>Objects <select id="collection"></select></label>
      <label>Name <select id="object"></select></label>
      <button id="create" type="button">New</button>
      <button id="apply" type="button">Apply</button>
      <button id="delete" type="button">Delete</button>
      <span class="gap"></span>
      <button id="reload" type="button">Reload files</button>
      <button id="save" type="button">Save to file</button>
    </div>
    <textarea id="editor" spellcheck="false" aria-label="object as JSON"></textarea>
    <p id="message" role="alert"></p>
    <details><summary>The whole configuration</summary><pre id="whole"></pre></details>
  </section>
  <section id="log" data-title="Log" hidden>
    <div class="row"><label>Show <select id="level"><option>debug<option selected>info<option>warn<option>error</select>
      </label><label>Containing <input id="find" size="24"></label><button id="clear" type="button">Clear</button></div>
    <ol id="lines"></ol>
  </section>
</main>
<script src="app.js"></script>
</html>
]==]
