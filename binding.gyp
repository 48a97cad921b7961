# SPDX-License-Identifier: Apache-2.0
#
# The same addon and guardian as CMakeLists.txt builds, for node-gyp: `npm run build:gyp`.
# Both read native/sources.txt. package.json says "gypfile": false, so that no install
# compiles, and this file is not published. core is compiled into the addon here.
{
  "variables": {
    "polyray_version": "<!(node -p \"require('./package.json').version\")",
    "guardian_sources": "<!(node scripts/native-sources.mjs guardian)",
  },
  "target_defaults": {
    "include_dirs": [
      "native",
      "native/third_party",
      "<!@(node -p \"require('node-addon-api').include\")",
    ],
    "defines": [
      "POLYRAY_VERSION=\"<(polyray_version)\"",
      "_GNU_SOURCE",
      "NAPI_VERSION=8",
      "NODE_ADDON_API_DISABLE_DEPRECATED",
      "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS",
    ],
    "cflags": ["-O2", "-g1", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fno-strict-aliasing", "-pthread", "-fPIC"],
    "cflags!": ["-O3", "-fomit-frame-pointer"],
    # Headers of Node and of node-addon-api are not ours to mend.
    "cflags_cc": ["-Wno-unused-parameter", "-Wno-cast-function-type"],
    "ldflags": ["-pthread"],
  },
  "targets": [
    {
      "target_name": "polyray",
      "sources": ["<!@(node scripts/native-sources.mjs core addon)"],
      "ldflags": ["-Wl,-z,nodelete"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++1y"],
      "cflags_cc": ["-std=c++20"],
    },
  ],
  "conditions": [
    ["guardian_sources!=''", {
      "targets": [
        {
          "target_name": "polyray-guardian",
          "type": "executable",
          "sources": ["<!@(node scripts/native-sources.mjs core guardian)"],
          "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++1y"],
          "cflags_cc": ["-std=c++20"],
        },
      ],
    }],
  ],
}
