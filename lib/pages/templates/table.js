/* Sorting and filtering of tables marked data-table. Without it they are plain tables. */
'use strict';
(function () {
  /* A page that reads itself again keeps what its reader had chosen. */
  function recall() {
    try { return JSON.parse(sessionStorage.getItem(location.pathname)) || {}; } catch (e) { return {}; }
  }
  function keep(state) {
    try { sessionStorage.setItem(location.pathname, JSON.stringify(state)); } catch (e) { /* private */ }
  }
  function valueOf(cell) {
    var given = cell.getAttribute('data-value');
    return given === null ? cell.textContent.trim() : given;
  }
  function compare(a, b) {
    /* What is missing stands last in either direction. */
    if (a === '' || b === '') { return null; }
    var x = Number(a), y = Number(b);
    if (!isNaN(x) && !isNaN(y)) { return x - y; }
    return a.localeCompare(b, 'en', {numeric: true});
  }
  function labelled(text, field) {
    var label = document.createElement('label');
    label.append(text, field);
    return label;
  }
  document.querySelectorAll('table[data-table]').forEach(function (table) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows);
    var heads = Array.from(table.tHead.rows[0].cells);
    var state = recall();
    var chosen = state.chosen || {};

    /* Sorting: up, down, and back to the order of the plan. */
    function sort(column, direction) {
      heads.forEach(function (head, i) {
        if (head.querySelector('button')) {
          head.setAttribute('aria-sort', i === column && direction ? direction : 'none');
        }
      });
      var sign = direction === 'descending' ? -1 : 1;
      var ordered = rows.map(function (row, i) {
        return {row: row, place: i, value: direction ? valueOf(row.cells[column]) : ''};
      });
      if (direction) {
        ordered.sort(function (a, b) {
          var found = compare(a.value, b.value);
          if (found === null) {
            return (a.value === '' ? 1 : 0) - (b.value === '' ? 1 : 0) || a.place - b.place;
          }
          return sign * found || a.place - b.place;
        });
      }
      ordered.forEach(function (entry) { body.append(entry.row); });
      state.column = column;
      state.direction = direction;
      keep(state);
    }
    heads.forEach(function (head, i) {
      if (head.hasAttribute('data-plain')) { return; }
      var button = document.createElement('button');
      button.type = 'button';
      button.append.apply(button, Array.from(head.childNodes));
      head.append(button);
      head.setAttribute('aria-sort', 'none');
      button.addEventListener('click', function () {
        var next = {none: 'ascending', ascending: 'descending', descending: ''};
        sort(i, next[head.getAttribute('aria-sort')]);
      });
    });

    /* Filters: words anywhere in a row, and a list for each column that has few values. */
    var filters = document.createElement('div');
    filters.className = 'filters';
    filters.setAttribute('role', 'group');
    filters.setAttribute('aria-label', 'Which rows are shown');
    var words = document.createElement('input');
    words.type = 'search';
    words.value = state.words || '';
    filters.append(labelled('contains', words));
    var lists = [];
    heads.forEach(function (head, i) {
      if (!head.hasAttribute('data-filter')) { return; }
      var name = head.textContent.trim();
      var values = Array.from(new Set(rows.map(function (row) { return valueOf(row.cells[i]); })));
      values = values.filter(function (v) { return v !== ''; });
      if (values.length < 2) { return; }
      values.sort(function (a, b) { return compare(a, b); });
      var list = document.createElement('select');
      list.append(new Option('all', ''));
      values.forEach(function (v) { list.append(new Option(v, v)); });
      list.value = values.includes(chosen[name]) ? chosen[name] : '';
      lists.push({name: name, column: i, list: list});
      filters.append(labelled(name, list));
    });
    var reset = document.createElement('button');
    reset.type = 'button';
    reset.textContent = 'show all';
    filters.append(reset);
    var count = document.createElement('p');
    count.className = 'count';
    count.setAttribute('role', 'status');
    var box = table.closest('.scroll') || table;
    box.before(filters, count);

    function filter() {
      var wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      var shown = 0;
      rows.forEach(function (row) {
        var text = row.textContent.toLowerCase();
        var fits = wanted.every(function (word) { return text.includes(word); });
        fits = fits && lists.every(function (l) {
          return l.list.value === '' || valueOf(row.cells[l.column]) === l.list.value;
        });
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      count.textContent = shown + ' of ' + rows.length + ' shown';
      state.words = words.value;
      state.chosen = {};
      lists.forEach(function (l) { state.chosen[l.name] = l.list.value; });
      keep(state);
    }
    words.addEventListener('input', filter);
    lists.forEach(function (l) { l.list.addEventListener('change', filter); });
    reset.addEventListener('click', function () {
      words.value = '';
      lists.forEach(function (l) { l.list.value = ''; });
      filter();
    });
    filter();
    if (state.direction) { sort(state.column, state.direction); }
  });
})();
