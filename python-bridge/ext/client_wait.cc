// SPDX-License-Identifier: Apache-2.0
// Client: wait and get of lists of refs, in one call each. What a ref is known to be is kept in the Ref, so that a list
// that is waited on again and again is subscribed once; a wait costs one look at each ref up to the last one it needs.
//
// Answers None for lists with anything else than refs, or with the same object twice: objects.py takes over.
// Thread rules: with the GIL, let go while waiting.
#include <algorithm>
#include <vector>

#include "client_binding.h"
#include "plain.h"

namespace polyray::py {

namespace {

// More than so many to wait for: counted per settling (Session::wait) instead of looked at after each wake-up.
constexpr size_t kFewNeeded = 8;
constexpr uint64_t kCopyBytes = 64 * 1024;

// The refs of an exact list or tuple; empty: there is something else.
std::vector<Ref*> refs_of(PyObject* refs) {
  std::vector<Ref*> found;
  const bool is_list = PyList_CheckExact(refs);
  if (!is_list && !PyTuple_CheckExact(refs)) return found;
  const Py_ssize_t count = is_list ? PyList_Size(refs) : PyTuple_Size(refs);
  found.reserve(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = is_list ? PyList_GetItem(refs, i) : PyTuple_GetItem(refs, i);
    Ref* ref = exact_ref(item);
    if (ref == nullptr) return {};
    id_to_read(*ref);
    found.push_back(ref);
  }
  return found;
}

bool has_repeats(const std::vector<Ref*>& refs) {
  size_t size = 16;
  while (size < 2 * refs.size()) size *= 2;
  thread_local std::vector<uint64_t> seen;
  seen.assign(size, 0);
  for (const Ref* ref : refs) {
    size_t at = (ref->id.unique * 0x9e3779b97f4a7c15ULL >> 20) & (size - 1);
    for (; seen[at] != 0; at = (at + 1) & (size - 1)) {
      if (seen[at] == ref->id.unique) return true;
    }
    seen[at] = ref->id.unique;
  }
  return false;
}

// Whether all items of a list are refs, each of another object in the order of their making, and settled: one pass over
// them, since a long list's refs lie in no cache.
bool all_settled(Session& session, PyObject* refs) {
  uint64_t last = 0;
  const Locked lock(session);
  const Py_ssize_t count = PyList_Size(refs);
  for (Py_ssize_t i = 0; i < count; ++i) {
    Ref* ref = exact_ref(PyList_GetItem(refs, i));
    if (ref == nullptr || ref->id.unique <= last) return false;
    last = ref->id.unique;
    if (ref->settled) continue;
    if (session.client().status(ref->id) == ObjectStatus::kPending) return false;
    ref->settled = true;
  }
  return true;
}

// Looks at the refs in order until `needed` of them are settled; how many are.
size_t look(Session& session, const std::vector<Ref*>& refs, size_t needed) {
  size_t found = 0;
  const Locked lock(session);
  for (size_t i = 0; i < refs.size() && found < needed; ++i) {
    Ref& ref = *refs[i];
    if (!ref.settled && session.client().status(ref.id) != ObjectStatus::kPending)
      ref.settled = true;
    if (ref.settled) ++found;
  }
  return found;
}

void wait_for(Endpoint& self, const std::vector<Ref*>& refs, size_t needed, int64_t timeout_ms,
              bool blocked) {
  Session& session = self.open();
  std::vector<ObjectId> ids;
  std::vector<ObjectId> fresh;
  for (Ref* ref : refs) {
    if (ref->settled) continue;
    ids.push_back(ref->id);
    if (!ref->watched) fresh.push_back(ref->id);
    ref->watched = true;
  }
  needed -= refs.size() - ids.size();
  const bool main = on_main_thread();
  wait_with_signals(self, timeout_ms, [&](int64_t left) {
    return needed > kFewNeeded ? session.wait(ids, needed, left, blocked, main)
                               : session.wait_few(fresh, ids, needed, left, blocked, main);
  });
}

// (ready, rest), or None.
nb::object wait_split(Endpoint& self, const nb::object& waitables, size_t needed,
                      int64_t timeout_ms, bool blocked) {
  Session& session = self.open();
  // Another thread may change the list while this one waits.
  nb::object refs = nb::steal(PySequence_List(waitables.ptr()));
  if (!refs.is_valid()) throw nb::python_error();
  const bool is_list = PyList_CheckExact(waitables.ptr());
  if (is_list && needed > 0 && needed == nb::len(refs) && all_settled(session, refs.ptr()))
    return nb::make_tuple(refs, nb::list());
  const std::vector<Ref*> items =
      is_list || PyTuple_CheckExact(waitables.ptr()) ? refs_of(refs.ptr()) : std::vector<Ref*>{};
  if (items.empty() || needed < 1 || needed > items.size() || has_repeats(items)) return nb::none();
  if (look(session, items, needed) < needed) {
    wait_for(self, items, needed, timeout_ms, blocked);
    look(session, items, needed);
  }
  nb::list ready;
  nb::list rest;
  size_t found = 0;
  size_t at = 0;
  for (; at < items.size() && found < needed; ++at) {
    nb::handle item = PyList_GetItem(refs.ptr(), static_cast<Py_ssize_t>(at));
    if (items[at]->settled) {
      ready.append(item);
      ++found;
    } else {
      rest.append(item);
    }
  }
  const auto end = static_cast<Py_ssize_t>(items.size());
  nb::object tail = nb::steal(PyList_GetSlice(refs.ptr(), static_cast<Py_ssize_t>(at), end));
  if (!tail.is_valid()) throw nb::python_error();
  if (nb::len(rest) == 0) return nb::make_tuple(ready, tail);
  rest.extend(tail);
  return nb::make_tuple(ready, rest);
}

// The values of settled refs; NOT_PLAIN where objects.py has to read it. None: there is something else in the list.
nb::object take_plain(Endpoint& self, nb::handle refs, const nb::object& not_plain) {
  Session& session = self.open();
  const std::vector<Ref*> items = refs_of(refs.ptr());
  if (items.empty()) return nb::none();
  nb::list values;
  std::vector<uint8_t> bytes;
  for (const Ref* ref : items) {
    bytes.clear();
    {
      const Locked lock(session);
      Client& client = session.client();
      const auto pinned = client.status(ref->id) == ObjectStatus::kSealed
                              ? client.pin(ref->id)
                              : Result<ObjectView>(Status{});
      if (pinned.is_ok()) {
        const ObjectView& view = pinned.value();
        if (view.size <= kCopyBytes) bytes.assign(view.data, view.data + view.size);
        if (view.pinned) client.unpin(ref->id);
      }
    }
    PyObject* made = bytes.empty() ? nullptr : decode_plain(bytes, &self);
    values.append(made == nullptr ? not_plain : nb::steal(made));
  }
  return values;
}

}  // namespace

void bind_client_wait(nb::class_<Endpoint>& client) {
  client
      .def("wait_split", &wait_split, nb::arg("refs"), nb::arg("needed"), nb::arg("timeout_ms"),
           nb::arg("blocked"))
      .def("take_plain", &take_plain, nb::arg("refs"), nb::arg("not_plain"));
}

}  // namespace polyray::py
