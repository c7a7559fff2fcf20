// A stand-in for a header that torch includes (ATen/functorch/Interpreter.h) and does not ship.
// What torch's inline (de)serialisation needs to compile; nothing here ever calls it. Found after
// every other include path (-idirafter), so a real nlohmann/json wins.
#pragma once

#include <stdexcept>
#include <string>

namespace nlohmann {

struct json {
  json() = default;
  template <typename Value>
  explicit json(const Value&) {}
  std::string dump() const { throw std::logic_error("nlohmann::json stand-in"); }
  static json parse(const std::string&) { throw std::logic_error("nlohmann::json stand-in"); }
  template <typename Value>
  Value get() const {
    throw std::logic_error("nlohmann::json stand-in");
  }
};

}  // namespace nlohmann
