// SPDX-License-Identifier: Apache-2.0
//
// Entry of the Node-API addon (polyray.node). It registers what the addon
// exports; every function lives in a *_binding.cc of its own. One instance per
// JS environment: no static state may be kept here.

#include <napi.h>

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("version", Napi::String::New(env, POLYRAY_VERSION));
  return exports;
}

}  // namespace

NODE_API_MODULE(polyray, init)
