// What differs between the torch versions this builds against, 2.11 to 2.14.
#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/version.h>

namespace torchconv {

// Nodes are counted by std::shared_ptr up to torch 2.12, by themselves from 2.13.
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
template <typename Node>
using NodePointer = c10::intrusive_ptr<Node>;

template <typename Node>
NodePointer<Node> make_node() {
  return c10::make_intrusive<Node>();
}
#else
template <typename Node>
using NodePointer = std::shared_ptr<Node>;

template <typename Node>
NodePointer<Node> make_node() {
  return NodePointer<Node>(new Node(), torch::autograd::deleteNode);
}
#endif

// Makes `node` the gradient function of `result`; from 2.14 hooks may ask to see new nodes.
template <typename Node>
void set_gradient_function(const at::Tensor& result, const NodePointer<Node>& node) {
  torch::autograd::set_history(result, node);
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 14
  torch::autograd::fire_node_creation_hooks(node);
#endif
}

}  // namespace torchconv
