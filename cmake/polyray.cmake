# SPDX-License-Identifier: Apache-2.0
#
# Functions of the root CMakeLists.txt: reading native/sources.txt, the compile flags that
# every target of ours has, and the GoogleTest programs.

find_package(Threads REQUIRED)

option(POLYRAY_TESTS "Define the GoogleTest targets" ON)
set(POLYRAY_SANITIZE "" CACHE STRING "address (with undefined behaviour), thread, or empty")

# The version has one source: package.json.
file(READ ${CMAKE_SOURCE_DIR}/package.json polyray_package_json)
string(JSON POLYRAY_VERSION GET "${polyray_package_json}" version)

# Sets POLYRAY_SOURCES_<section> in the caller to absolute paths. A listed file that is
# missing stops the configuration.
function(polyray_read_sources list_path)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list_path})
  file(STRINGS ${list_path} lines)
  set(section "")
  foreach(line IN LISTS lines)
    string(STRIP "${line}" line)
    if(line STREQUAL "" OR line MATCHES "^#")
      continue()
    elseif(line MATCHES "^\\[([a-z]+)\\]$")
      set(section ${CMAKE_MATCH_1})
      set(sources_${section} "")
      list(APPEND sections ${section})
    elseif(section STREQUAL "")
      message(FATAL_ERROR "native/sources.txt: '${line}' stands before the first [section]")
    elseif(NOT EXISTS ${CMAKE_SOURCE_DIR}/${line})
      message(FATAL_ERROR "native/sources.txt lists ${line}, which does not exist. "
                          "Create the file or remove the line.")
    else()
      list(APPEND sources_${section} ${CMAKE_SOURCE_DIR}/${line})
    endif()
  endforeach()
  foreach(section IN LISTS sections)
    set(POLYRAY_SOURCES_${section} ${sources_${section}} PARENT_SCOPE)
  endforeach()
endfunction()

# Flags of every target compiled from our sources.
function(polyray_flags target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE
    -O2 -g1 -Wall -Wextra -Werror -fvisibility=hidden -fno-strict-aliasing)
  target_compile_definitions(${target} PRIVATE POLYRAY_VERSION="${POLYRAY_VERSION}" _GNU_SOURCE)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/native)
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_SOURCE_DIR}/native/third_party)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF)
  if(POLYRAY_SANITIZE)
    set(checks ${POLYRAY_SANITIZE})
    if(POLYRAY_SANITIZE STREQUAL "address")
      set(checks "address,undefined")
    endif()
    # GCC's bounds warnings are not reliable under a sanitizer, and it has none for fences.
    target_compile_options(${target} PRIVATE -fsanitize=${checks} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer -Wno-array-bounds -Wno-stringop-overflow
                           -Wno-stringop-overread -Wno-maybe-uninitialized -Wno-restrict)
    if(POLYRAY_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -Wno-tsan)
    endif()
    target_link_options(${target} PRIVATE -fsanitize=${checks})
  endif()
endfunction()

# One program per test/native/**/*_test.cc, linked with core and GoogleTest, all behind the
# target native_tests (not part of the default build). Each case is one ctest test.
# Other .cc files under test/native/ (support code) are linked into every program.
function(polyray_native_tests)
  find_package(GTest)
  if(NOT GTest_FOUND)
    message(STATUS "GoogleTest not found (Debian: libgtest-dev): no native tests")
    return()
  endif()
  include(GoogleTest)
  add_custom_target(native_tests)
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/native/*.cc)
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  set(support ${all})
  list(FILTER support EXCLUDE REGEX "_test\\.cc$")
  # Support code and GoogleTest's header are compiled once, for all programs.
  add_library(native_test_support STATIC EXCLUDE_FROM_ALL
              ${CMAKE_SOURCE_DIR}/cmake/empty.cc ${support})
  polyray_test_target(native_test_support)
  target_precompile_headers(native_test_support PRIVATE <gtest/gtest.h>)
  foreach(source IN LISTS tests)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    polyray_test_target(${name})
    target_precompile_headers(${name} REUSE_FROM native_test_support)
    target_link_libraries(${name} PRIVATE native_test_support polyray_core GTest::gtest_main)
    set_target_properties(${name} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/native_tests)
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                         PROPERTIES TIMEOUT 180)
    add_dependencies(native_tests ${name})
  endforeach()
endfunction()

# What test programs and their support library have in common (the same flags for all, so that
# they can share one precompiled header).
function(polyray_test_target target)
  polyray_flags(${target})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/test/native)
  target_compile_definitions(${target} PRIVATE POLYRAY_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    POLYRAY_BINARY_DIR="${CMAKE_LIBRARY_OUTPUT_DIRECTORY}")
  target_link_libraries(${target} PRIVATE GTest::gtest Threads::Threads)
endfunction()
